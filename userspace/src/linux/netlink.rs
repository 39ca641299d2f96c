//! The routing netlink socket of a network namespace: one request, one answer.
#![expect(unsafe_code, reason = "an async netlink socket is made of a raw descriptor")]

use std::{
    io,
    os::fd::{FromRawFd, IntoRawFd},
};

use futures_util::{StreamExt, TryStreamExt, future};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
};
use rtnetlink::{
    Handle, LinkUnspec,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    sys::{AsyncSocket as _, Socket, TokioSocket, protocols::NETLINK_ROUTE},
};

use super::{Attempt, IntoIo, LinuxError, netns};

/// The interfaces, addresses and routes of a network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    handle: Handle,
}

/// Which interfaces a list is to have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// All.
    All,
    /// Those that are nobody's port.
    Apart,
    /// Ports of any bridge, and what has a bridge in its hardware. The kernel says less of each, and does not look for the
    /// namespace of its other end, which takes the longer the more namespaces there are.
    OnBridges,
    /// Ports of the bridge, bond or VRF with this index.
    PortsOf(u32),
}

/// What a request that adds something does about one that is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum IfThere {
    /// `EEXIST`.
    Refuse,
    /// Sets it right.
    Replace,
    /// Nothing is added: there must be one, which is changed.
    Change,
    /// The same of a neighbour, whose MAC would otherwise stay.
    Overwrite,
}

impl Host {
    /// The network namespace that portlane runs in. Needs a tokio runtime around it, with I/O enabled.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open() -> Result<Self, LinuxError> {
        let attempt = || "open a netlink socket".to_owned();
        let (mut connection, handle, _) = rtnetlink::new_connection().attempt(attempt)?;
        // Else the kernel lists the addresses of all interfaces to who asks for one's (since Linux 4.20).
        connection.socket_mut().socket_mut().set_netlink_get_strict_chk(true).attempt(attempt)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Another network namespace, given by name or path.
    ///
    /// # Errors
    /// There is no such namespace, or the kernel gives no netlink socket.
    pub fn open_within(netns: &str) -> Result<Self, LinuxError> {
        let socket = netns::within(netns, socket)?.attempt(|| format!("open a netlink socket in {netns}"))?;
        Ok(Self::over(socket))
    }

    /// Speaks through a socket that was opened in the namespace: from there on it can be used from anywhere.
    pub(super) fn over(socket: Socket) -> Self {
        // SAFETY: the descriptor was the socket's alone, and belongs to the new one alone from here on.
        let socket = unsafe { TokioSocket::from_raw_fd(socket.into_raw_fd()) };
        let (connection, handle, _) = rtnetlink::from_socket(socket);
        tokio::spawn(connection);
        Self { handle }
    }

    /// Deletes an interface, if it is there; of a veth pair, both ends.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn delete_link(&self, name: &str) -> Result<(), LinuxError> {
        let message = LinkUnspec::new_with_name(name).build();
        match self.handle.link().del_with_message(message).execute().await.map_err(IntoIo::into_io) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result.attempt(|| format!("delete interface {name}")),
        }
    }

    /// The interface of this name, if there is one.
    pub(super) async fn link(&self, name: &str) -> io::Result<Option<LinkMessage>> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        match found.map_err(IntoIo::into_io) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            found => found,
        }
    }

    /// What `of` says of interfaces, whose statistics are left out.
    ///
    /// The messages are not kept: each is a hundred times as large as what is wanted of it.
    pub(super) async fn links<T, C: Default + Extend<T>>(
        &self,
        which: Which,
        of: impl Fn(&LinkMessage) -> Option<T>,
    ) -> io::Result<C> {
        /// As `IFLA_MASTER` in a request: those without one.
        const NOBODY: u32 = u32::MAX;
        let mut request = self.handle.link().get();
        let message = request.message_mut();
        // Told to leave something out, the kernel first works out for each interface how much that leaves: more than is spared
        // where few are told of.
        if !matches!(which, Which::Apart) {
            message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        }
        match which {
            Which::All => {}
            Which::Apart => message.attributes.push(LinkAttribute::Controller(NOBODY)),
            Which::OnBridges => message.header.interface_family = AddressFamily::Bridge,
            Which::PortsOf(index) => message.attributes.push(LinkAttribute::Controller(index)),
        }
        let wanted = request.execute().try_filter_map(|link| future::ready(Ok(of(&link))));
        wanted.try_collect().await.map_err(IntoIo::into_io)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Sends a request at once, and returns what its answer will be: requests sent one after another are carried out
    /// in that order, and their answers may be waited for together.
    pub(super) fn send(
        &self,
        message: RouteNetlinkMessage,
        if_there: IfThere,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST
            | NLM_F_ACK
            | match if_there {
                IfThere::Refuse => NLM_F_CREATE | NLM_F_EXCL,
                IfThere::Replace => NLM_F_CREATE | NLM_F_REPLACE,
                IfThere::Change => 0,
                IfThere::Overwrite => NLM_F_REPLACE,
            };
        let answers = self.handle.clone().request(request);
        async move {
            let mut answers = answers.map_err(IntoIo::into_io)?;
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(message) = answer.payload
                    && message.code.is_some()
                {
                    return Err(message.to_io());
                }
            }
            Ok(())
        }
    }
}

/// A netlink socket of the calling thread's namespace.
pub(super) fn socket() -> io::Result<Socket> {
    Socket::new(NETLINK_ROUTE)
}
