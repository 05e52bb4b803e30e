//! An address → a listener.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use rustix::{io::Errno, net::sockopt::set_ipv6_v6only};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be taken: as many as the kernel allows without being asked (`net.core.somaxconn`). One
/// that finds no room is tried again by its client, a second later.
const QUEUE: u32 = 4096;

/// Listens with a queue that outlasts a flood of connections. `[::]` is every address of both families, and where the node
/// has no IPv6 every one of IPv4.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match listen(address) {
        Err(error) if is_every_v6(address) && Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT) => {
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        other => other,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if is_every_v6(address) {
        // Whatever net.ipv6.bindv6only says.
        set_ipv6_v6only(&socket, false)?;
    }
    // A successor need not wait for connections of its predecessor to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

fn is_every_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn both_families_are_heard() {
        let listener = bind((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut loopbacks: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
        // Without IPv6 there is nothing else to hear.
        let has_v6 = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        loopbacks.extend(has_v6.then_some(IpAddr::from(Ipv6Addr::LOCALHOST)));
        for loopback in loopbacks {
            let (_client, taken) = tokio::try_join!(TcpStream::connect((loopback, port)), listener.accept()).unwrap();
            assert_eq!(taken.1.ip().to_canonical(), loopback);
        }
    }
}
