//! One child process: its first line, its signals, its end.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longest line that a child may print before it counts as garbage, in bytes.
const LINE_MAX: u64 = 64 * 1024;
/// How often a wait looks whether it has been interrupted.
const GLANCE: Duration = Duration::from_millis(50);

/// Set once, by the first signal: every wait ends then.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Why a wait brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    Ended,
    Deadline,
    Interrupted,
}

/// A child in a process group of its own, so that Ctrl-C in the terminal reaches only us. Its stdin is
/// a pipe that ends when we do; the end of its stdout is how its own end is noticed. Dropping kills.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    lines: Receiver<String>,
    paused: bool,
}

impl Process {
    pub fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        // One line is of interest. The reader goes on after it, so that the pipe never fills up.
        let (sender, lines) = sync_channel(1);
        thread::spawn(move || read_lines(stdout, sender));
        Ok(Self { child, pid, lines, paused: false })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it ends by itself; says how it ended.
    pub fn end(&mut self, deadline: Instant, interrupt: &Interrupt) -> Result<ExitStatus, Missed> {
        loop {
            match self.line(deadline, interrupt) {
                Ok(_) => {}
                Err(Missed::Ended) => return self.child.wait().map_err(|_| Missed::Ended),
                Err(missed) => return Err(missed),
            }
        }
    }

    /// The next line of its stdout.
    pub fn line(&self, deadline: Instant, interrupt: &Interrupt) -> Result<String, Missed> {
        while !interrupt.is_raised() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(GLANCE)) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => return Err(Missed::Ended),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Missed::Deadline),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Err(Missed::Interrupted)
    }

    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
    }

    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.paused = false;
    }

    /// Asks it to stop; a paused one wakes up for that.
    pub fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
        self.signal(Signal::TERM);
        self.resume();
    }

    /// Waits for its end, and kills it if that takes longer. True: it ended by itself.
    pub fn wait_or_kill(mut self, deadline: Instant) -> bool {
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().is_ok(),
            }
        }
        self.kill();
        false
    }

    /// Ends it at once, as a power cut of this one process would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    fn signal(&mut self, signal: Signal) {
        // A child that was waited for has given its pid back; nothing of ours has that number now.
        if self.ended().is_none() {
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_lines(stdout: ChildStdout, sender: SyncSender<String>) {
    let mut reader = BufReader::new(stdout);
    let mut line = String::new();
    while matches!(reader.by_ref().take(LINE_MAX).read_line(&mut line), Ok(1..)) {
        let _ = sender.try_send(line.trim_end().to_owned());
        line.clear();
    }
}

/// Asks again and again until there is an answer.
pub fn until<T>(
    deadline: Instant,
    interrupt: &Interrupt,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T, Missed> {
    loop {
        if interrupt.is_raised() {
            return Err(Missed::Interrupted);
        }
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            return Err(Missed::Deadline);
        }
        thread::sleep(GLANCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command).unwrap()
    }

    #[test]
    fn the_first_line_arrives_and_then_the_end() {
        let process = shell("echo ready; exit 0");
        assert_eq!(process.line(soon(), &Interrupt::default()).unwrap(), "ready");
        assert_eq!(process.line(soon(), &Interrupt::default()), Err(Missed::Ended));
        assert!(process.wait_or_kill(soon()));
    }

    #[test]
    fn one_that_ignores_the_request_is_killed() {
        let mut process = shell("trap '' TERM; echo ready; while :; do read x || sleep 1; done");
        process.line(soon(), &Interrupt::default()).unwrap();
        process.ask_to_stop();
        assert!(!process.wait_or_kill(Instant::now()));
    }

    #[test]
    fn a_paused_one_can_be_stopped() {
        let mut process = shell("trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done");
        process.line(soon(), &Interrupt::default()).unwrap();
        process.pause();
        assert!(process.is_paused());
        process.ask_to_stop();
        assert!(process.wait_or_kill(soon()));
    }

    #[test]
    fn the_whole_group_ends_when_it_is_dropped() {
        let process = shell("sleep 1000 & echo $!; wait");
        let sleeper = process.line(soon(), &Interrupt::default()).unwrap().parse().unwrap();
        drop(process);
        let pid = Pid::from_raw(sleeper).unwrap();
        let gone = || is_gone(pid).then_some(());
        until(soon(), &Interrupt::default(), gone).unwrap();
    }

    /// An orphan that nobody waits for stays as a zombie where there is no init.
    fn is_gone(pid: Pid) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        rustix::process::test_kill_process(pid).is_err() || state.is_ok_and(|s| s.contains(") Z "))
    }

    #[test]
    fn an_interrupt_ends_a_wait() {
        let process = shell("sleep 1000");
        let interrupt = Interrupt::default();
        interrupt.raise();
        assert_eq!(process.line(soon(), &interrupt), Err(Missed::Interrupted));
        assert_eq!(until(soon(), &interrupt, || None::<()>), Err(Missed::Interrupted));
    }
}
