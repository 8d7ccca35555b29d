//! One `souk up`: its output, and its end.
//!
//! Separate threads read its output, so that a host that prints much never blocks. Dropping the value kills this
//! process and no other. If the test fails, it shows the output.

use std::io::{self, BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// How much of the output is kept; later output is discarded.
const MAX_LOG_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
struct Printed {
    lines: Vec<(Instant, String)>,
    bytes: usize,
}

/// A process that runs an application.
#[derive(Debug)]
pub struct Process {
    child: Child,
    printed: Arc<Mutex<Printed>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Runs `command`.
    ///
    /// # Errors
    /// When its program cannot be run.
    pub fn spawn(command: &mut Command) -> io::Result<Process> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let printed = Arc::default();
        let out = child.stdout.take().map(|out| keep(out, &printed));
        let err = child.stderr.take().map(|err| keep(err, &printed));
        Ok(Process { child, printed, readers: out.into_iter().chain(err).collect() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines that the process has printed until now, with their times.
    pub fn lines(&self) -> Vec<(Instant, String)> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// The output until now.
    pub fn log(&self) -> String {
        let lines: Vec<String> = self.lines().into_iter().map(|(_, line)| line).collect();
        lines.join("\n")
    }

    /// The exit status, if the process has ended; [`log`](Self::log) is then complete.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("the host's status")?;
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
        Some(status)
    }

    /// Sends the signal `SIG<name>`.
    pub fn signal(&self, name: &str) {
        // Sending a signal directly would need `unsafe` or another dependency.
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} was not delivered");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the host's log ---\n{}", self.log());
        }
    }
}

fn keep(output: impl Read + Send + 'static, printed: &Arc<Mutex<Printed>>) -> JoinHandle<()> {
    let printed = Arc::clone(printed);
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            if printed.bytes + line.len() <= MAX_LOG_BYTES {
                printed.bytes += line.len();
                printed.lines.push((Instant::now(), String::from_utf8_lossy(&line).into_owned()));
            }
        }
    })
}
