//! Where clients connect: addresses as users write them, and sockets that listen there, never waiting.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with, sockopt,
};

use crate::activation;

/// The port that is registered for the protocol.
const PORT: u16 = 10809;

/// Connections that the kernel keeps until they are taken.
const BACKLOG: i32 = 32;

/// Where an NBD server listens.
///
/// Written `unix:PATH`, `tcp:PORT`, `tcp:IP`, `tcp:IP:PORT` or `systemd`. Without an address TCP is on this machine's
/// loopback; without a port it is the registered one, and port 0 is one that the kernel chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NbdAddress {
    /// A Unix socket, made by the server for its own user, and removed with the server.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
    /// The one socket that systemd, or another program with its protocol, passed to this process.
    Systemd,
}

impl FromStr for NbdAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write unix:PATH, tcp:PORT, tcp:IP, tcp:IP:PORT or systemd";
        if text == "systemd" {
            return Ok(NbdAddress::Systemd);
        }
        match text.split_once(':') {
            Some(("unix", "")) => Err(format!("`{text}` has no path: {FORMS}")),
            Some(("unix", path)) => Ok(NbdAddress::Unix(path.into())),
            Some(("tcp", address)) => {
                let local = IpAddr::from(Ipv4Addr::LOCALHOST);
                let address = address.replacen("localhost", "127.0.0.1", 1);
                let address = match (address.parse::<SocketAddr>(), address.parse::<u16>(), address.parse::<IpAddr>()) {
                    (Ok(address), ..) => address,
                    (_, Ok(port), _) => SocketAddr::new(local, port),
                    (_, _, Ok(ip)) => SocketAddr::new(ip, PORT),
                    _ if address.is_empty() => SocketAddr::new(local, PORT),
                    _ => return Err(format!("`{text}` has no IP address or port: {FORMS}")),
                };
                Ok(NbdAddress::Tcp(address))
            }
            _ => Err(format!("`{text}` is no address of an NBD server: {FORMS}")),
        }
    }
}

impl fmt::Display for NbdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NbdAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            NbdAddress::Tcp(address) => write!(f, "tcp:{address}"),
            NbdAddress::Systemd => write!(f, "systemd"),
        }
    }
}

/// Why an NBD server cannot listen, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Something is there already.
    #[error("cannot listen at {address}: {what}")]
    Taken {
        /// Where.
        address: NbdAddress,
        /// What is there, and what to do.
        what: &'static str,
    },
    /// systemd passed no socket that can be used.
    #[error("cannot listen at the socket of systemd: {0}")]
    NotActivated(&'static str),
    /// A name or description that does not fit into the protocol.
    #[error("cannot serve this disk over NBD: {0}")]
    Strings(String),
    /// Anything else.
    #[error("cannot listen at {address}: {source}")]
    Other {
        /// Where.
        address: NbdAddress,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A listening socket. A Unix socket's file goes with it.
pub struct Listener {
    socket: OwnedFd,
    file: Option<SocketFile>,
    uri: String,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// Why it cannot, and what to do.
    pub fn open(address: &NbdAddress) -> Result<Self, ListenError> {
        match address {
            NbdAddress::Unix(path) => Listener::unix(address, path),
            NbdAddress::Tcp(at) => Listener::tcp(address, *at),
            NbdAddress::Systemd => Listener::activated(),
        }
    }

    fn unix(address: &NbdAddress, path: &Path) -> Result<Self, ListenError> {
        let other = |source: io::Error| ListenError::Other { address: address.clone(), source };
        let taken = |what| ListenError::Taken { address: address.clone(), what };
        let name = SocketAddrUnix::new(path).map_err(|error| other(error.into()))?;
        if let Ok(there) = path.symlink_metadata() {
            if !there.file_type().is_socket() {
                return Err(taken("there is a file of this name, and it is no socket: choose another name"));
            }
            // Never waiting: the queue of a server that hangs may be full.
            match connect(&open_socket(AddressFamily::UNIX).map_err(other)?, &name) {
                Err(rustix::io::Errno::CONNREFUSED) => {
                    // What a server that was killed left behind.
                    std::fs::remove_file(path).map_err(other)?;
                }
                _ => return Err(taken("another process listens there: end that one or choose another name")),
            }
        }
        let socket = open_socket(AddressFamily::UNIX).map_err(other)?;
        // Before it has a name, so that nobody else can connect at any time.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| other(error.into()))?;
        bind(&socket, &name).map_err(|error| other(error.into()))?;
        let file = SocketFile::new(path).map_err(other)?;
        listen(&socket, BACKLOG).map_err(|error| other(error.into()))?;
        let uri = format!("nbd+unix:///?socket={}", escaped(&path.display().to_string()));
        Ok(Listener { socket, file: Some(file), uri })
    }

    fn tcp(address: &NbdAddress, at: SocketAddr) -> Result<Self, ListenError> {
        let other = |error: rustix::io::Errno| match error {
            rustix::io::Errno::ADDRINUSE => ListenError::Taken {
                address: address.clone(),
                what: "another process listens there: end that one or choose another port",
            },
            error => ListenError::Other { address: address.clone(), source: error.into() },
        };
        let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = open_socket(family).map_err(|source| ListenError::Other { address: address.clone(), source })?;
        sockopt::set_socket_reuseaddr(&socket, true).map_err(other)?;
        bind(&socket, &at).map_err(other)?;
        listen(&socket, BACKLOG).map_err(other)?;
        let at = getsockname(&socket).ok().and_then(|name| SocketAddr::try_from(name).ok()).unwrap_or(at);
        if !at.ip().is_loopback() {
            tracing::warn!(
                "the disk is served at {at} without a password and in the clear: all that can reach it can read and \
                 write it. Listen on loopback or a Unix socket, and put a tunnel with encryption in front of that"
            );
        }
        Ok(Listener { socket, file: None, uri: format!("nbd://{at}") })
    }

    fn activated() -> Result<Self, ListenError> {
        let socket = activation::socket().map_err(ListenError::NotActivated)?;
        let other = |error: rustix::io::Errno| ListenError::Other {
            address: NbdAddress::Systemd,
            source: io::Error::from(error),
        };
        rustix::io::ioctl_fionbio(&socket, true).map_err(other)?;
        Ok(Listener { socket, file: None, uri: "the socket that was passed to this process".into() })
    }

    /// Returns where clients find it, as an NBD URI where it has one.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Takes the next connection, if there is one. Nothing that is done with it waits.
    ///
    /// # Errors
    /// If the system refuses one, as where there are too many open files.
    pub fn accept(&self) -> io::Result<Option<OwnedFd>> {
        use rustix::io::Errno;
        match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => {
                // Not for a Unix socket, and nothing is lost without them: replies would be later, and a client
                // whose machine is gone would keep its place.
                let _ = sockopt::set_tcp_nodelay(&socket, true);
                let _ = sockopt::set_socket_keepalive(&socket, true);
                Ok(Some(socket))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Returns a path as it stands in a URI.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(escape).collect()
}

/// The file of a Unix socket; removed with the value, if it is still this one.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let identity = SocketFile::identity(&path)?;
        Ok(SocketFile { path, identity })
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        path.symlink_metadata().map(|there| (there.dev(), there.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if SocketFile::identity(&self.path).is_ok_and(|there| there == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Before the socket is closed, so that no client finds a file that nobody listens at.
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> NbdAddress {
        NbdAddress::Tcp(text.parse().unwrap())
    }

    #[test]
    fn addresses_are_read_as_users_write_them() {
        for (text, address) in [
            ("unix:disk.sock", NbdAddress::Unix("disk.sock".into())),
            ("unix:/run/a:b", NbdAddress::Unix("/run/a:b".into())),
            ("tcp:", tcp("127.0.0.1:10809")),
            ("tcp:7000", tcp("127.0.0.1:7000")),
            ("tcp:localhost", tcp("127.0.0.1:10809")),
            ("tcp:localhost:7000", tcp("127.0.0.1:7000")),
            ("tcp:10.0.0.1", tcp("10.0.0.1:10809")),
            ("tcp:[::1]:7000", tcp("[::1]:7000")),
            ("tcp:::1", tcp("[::1]:10809")),
            ("systemd", NbdAddress::Systemd),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms_that_are() {
        for text in ["", "unix:", "unix", "tcp", "tcp:host.example", "tcp:70000", "udp:1", "/run/disk.sock"] {
            let error = text.parse::<NbdAddress>().unwrap_err();
            assert!(error.contains("unix:PATH") && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_with_odd_characters_is_escaped_in_the_uri() {
        assert_eq!(escaped("/run/a b?&ä"), "/run/a%20b%3F%26%C3%A4");
    }
}
