//! What the guest finds behind 10.0.2.2: QEMU's user network connects it to this machine's loopback.

use crate::util;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

const FILE_BYTES: u64 = 64 << 20;
/// Another program may take a free port before iperf3 does.
const PORT_ATTEMPTS: u32 = 5;

/// A file that each connection gets from its first byte to its last.
pub struct FileServer {
    /// Where.
    pub port: u16,
    /// What arrives if nothing goes wrong.
    pub sha256: String,
}

impl FileServer {
    /// Makes the file in `folder` and serves it until the process ends.
    pub fn start(folder: &Path) -> Result<FileServer> {
        let path = folder.join("payload");
        write_payload(&path).with_context(|| format!("writing {}", path.display()))?;
        let sum = util::output(Command::new("sha256sum").arg(&path))?;
        let sha256 = sum.split_whitespace().next().context("sha256sum printed nothing")?.to_string();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on the loopback interface")?;
        let port = listener.local_addr().context("asking for a port")?.port();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let path = path.clone();
                thread::spawn(move || serve(connection, &path));
            }
        });
        Ok(FileServer { port, sha256 })
    }
}

fn serve(mut connection: TcpStream, path: &PathBuf) {
    // A client that goes away in the middle is the case's affair.
    let _ = File::open(path).and_then(|mut file| io::copy(&mut file, &mut connection));
}

/// Bytes that do not repeat (Marsaglia, "Xorshift RNGs", 2003), so that a piece that is lost, doubled or out of place
/// changes the hash.
fn write_payload(path: &Path) -> io::Result<()> {
    let mut out = io::BufWriter::new(File::create(path)?);
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..FILE_BYTES / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.write_all(&state.to_le_bytes())?;
    }
    out.flush()
}

/// A file that holds what came through the last connection.
pub struct Inbox {
    /// Where.
    pub port: u16,
    /// The file. It is whole when the sender's connection has ended.
    pub file: PathBuf,
}

impl Inbox {
    /// Listens until the process ends.
    pub fn start(folder: &Path) -> Result<Inbox> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let file = folder.join("received");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on the loopback interface")?;
        let port = listener.local_addr().context("asking for a port")?.port();
        let path = file.clone();
        thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                // A sender that goes away in the middle is the case's affair, as is a file that is not whole.
                let _ = File::create(&path).and_then(|mut file| io::copy(&mut connection, &mut file));
            }
        });
        Ok(Inbox { port, file })
    }
}

/// A running `iperf3 --server`. Dropping it ends it.
pub struct Iperf {
    child: Child,
    /// Where.
    pub port: u16,
}

impl Iperf {
    /// Starts it on a free port.
    pub fn start() -> Result<Iperf> {
        let name = "iperf3";
        if util::find_program(name).is_none() {
            bail!("{name} is not installed; `cargo xtask setup` installs it");
        }
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port().context("looking for a free port")?;
            // It must not outlive us, however we end.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", name, "--server", "--forceflush", "--bind", "127.0.0.1", "--port"]);
            command.arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut iperf = Iperf { child: util::spawn(&mut command)?, port };
            if iperf.listens() {
                return Ok(iperf);
            }
        }
        bail!("iperf3 found no port to listen on in {PORT_ATTEMPTS} attempts")
    }

    /// Returns whether it says that it listens; goes on reading what it says, so that it never waits for us.
    fn listens(&mut self) -> bool {
        let Some(stdout) = self.child.stdout.take() else { return false };
        let mut lines = BufReader::new(stdout).lines();
        let listens = lines.by_ref().map_while(io::Result::ok).any(|line| line.contains("Server listening"));
        thread::spawn(move || lines.map_while(io::Result::ok).for_each(drop));
        listens
    }
}

impl Drop for Iperf {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
