//! Where the server listens, and what is in the way.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nook_block::{ListenError, NbdAddress, NbdOptions, NbdServer};
use nook_block_api::{BlockBackend, Geometry};

fn listen(address: &NbdAddress) -> Result<NbdServer, ListenError> {
    NbdServer::listen(address, NbdOptions::default())
}

fn unix(path: &Path) -> NbdAddress {
    NbdAddress::Unix(path.into())
}

#[test]
fn a_unix_socket_is_its_users_alone_and_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.sock");
    let server = listen(&unix(&path)).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(server.uri().starts_with("nbd+unix:///?socket=/") && server.uri().ends_with("/disk.sock"));
    drop(server);
    assert!(!path.exists());
}

#[test]
fn what_a_killed_server_left_is_replaced_and_what_another_one_has_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the file of a socket that nobody listens at");
    let server = listen(&unix(&path)).unwrap();
    let error = listen(&unix(&path)).map(drop).unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "{error}");
    assert!(UnixStream::connect(&path).is_ok(), "the first one is still there");
    // A socket that took its place is not its to remove.
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists());
}

#[test]
fn a_path_that_cannot_be_a_socket_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let error = listen(&unix(&file)).map(drop).unwrap_err().to_string();
    assert!(error.contains("it is no socket"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
    let absent = folder.path().join("absent/disk.sock");
    assert!(listen(&unix(&absent)).map(drop).unwrap_err().to_string().contains("No such file"));
    let long = folder.path().join("x".repeat(200));
    assert!(listen(&unix(&long)).is_err() && !long.exists());
}

#[test]
fn a_port_that_is_taken_is_said_to_be() {
    let server = listen(&"tcp:0".parse().unwrap()).unwrap();
    let port = server.uri().strip_prefix("nbd://127.0.0.1:").expect("loopback is the default");
    let error = listen(&format!("tcp:{port}").parse().unwrap()).map(drop).unwrap_err().to_string();
    assert!(error.contains("choose another port"), "{error}");
}

#[test]
fn a_name_that_does_not_fit_into_the_protocol_is_refused() {
    for name in ["x".repeat(4097), "zero\0byte".into()] {
        let options = NbdOptions { name, ..NbdOptions::default() };
        let error = NbdServer::listen(&"tcp:0".parse().unwrap(), options).map(drop).unwrap_err();
        assert!(error.to_string().contains("the export's name"), "{error}");
    }
}

#[test]
fn a_disk_that_nbd_cannot_have_is_refused_by_name() {
    let good = Geometry { block_bytes: 512, blocks: 1, max_blocks: 1, ..Geometry::default() };
    let mut server = listen(&"tcp:0".parse().unwrap()).unwrap();
    for (geometry, says) in [
        (Geometry { block_bytes: 520, ..good.clone() }, "blocks of 520 bytes"),
        (Geometry { block_bytes: 1 << 17, ..good.clone() }, "blocks of 131072 bytes"),
        (Geometry { blocks: 1 << 55, ..good.clone() }, "too large"),
        (Geometry { max_blocks: 0, ..good.clone() }, "no block"),
    ] {
        let error = server.attach(&geometry).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    server.attach(&good).unwrap();
}
