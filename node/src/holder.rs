//! Who has a port that is taken, as far as this user may know.

use std::fs;

/// "process 4711 (redis-server)", for a TCP port on this machine. `None`: not Linux, nobody listens
/// there, or the process is another user's.
pub fn of_tcp_port(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listener_inode(table, port))?;
    let pid = pid_of_socket(&inode)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}

/// The inode of the socket that listens at `port`. Columns of `/proc/net/tcp` (proc_pid_net(5)): 1 is the local
/// address with the port in hexadecimal, 3 the state (0A: listening), 9 the inode.
fn listener_inode(table: &str, port: u16) -> Option<String> {
    let port = format!(":{port:04X}");
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find_map(|columns| {
        let listens = columns.get(3) == Some(&"0A") && columns.get(1).is_some_and(|at| at.ends_with(&port));
        listens.then(|| columns.get(9).map(|inode| (*inode).to_owned())).flatten()
    })
}

fn pid_of_socket(inode: &str) -> Option<u32> {
    let socket = format!("socket:[{inode}]");
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| target.as_os_str() == socket.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_is_found_among_other_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1CD3 0200007F:ABCD 01 00000000:00000000 00:00000000 00000000  1000 0 111 1\n   \
             1: 0100007F:1CD3 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 222 1\n";
        assert_eq!(listener_inode(table, 7379), Some("222".into()));
        assert_eq!(listener_inode(table, 7380), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_holds_what_it_listens_at() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of_tcp_port(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.starts_with(&format!("process {} (", std::process::id())), "{holder}");
    }
}
