/// Half the processor time of the system's allocator, under many small values of all ages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    starling_node::cli::main()
}
