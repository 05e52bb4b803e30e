//! An address → a listener.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be taken: as many as the kernel allows without being asked (`net.core.somaxconn`). One
/// that finds no room is tried again by its client, a second later.
const QUEUE: u32 = 4096;

/// Listens with a queue that outlasts a flood of connections.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A successor need not wait for connections of its predecessor to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}
