//! Objects that run on other hosts: which has one, and the way to it. What the host is told by whoever knows.

use std::{io, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use super::log::ObjectKey;
use crate::wire::Problem;

/// Another host, as [`Directory`] and [`Dial`] know it. Nothing here looks into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(pub [u8; 16]);

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this host. What it commits carries this epoch or a higher one.
    Here {
        least_epoch: u64,
    },
    At(Peer),
    /// Nobody has it now: what callers are told.
    Nowhere(Problem),
}

/// Knows where objects are.
pub trait Directory: Send + Sync {
    /// Answers from memory and calls nothing of the host's: it is asked while a deployment is locked. `deployment`: as it
    /// was given to [`super::Host::deploy`].
    fn place(&self, deployment: &str, object: &ObjectKey) -> Place;

    /// `by` says that it does not have the object. Ends when the directory is as new as it can be had; the object is then
    /// looked up and called once more.
    fn misdirected<'a>(&'a self, deployment: &'a str, object: &'a ObjectKey, by: Peer) -> BoxFuture<'a, ()>;
}

/// A connection to another host.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

/// Connects to other hosts.
pub trait Dial: Send + Sync {
    /// A connection at whose other end that very host has called [`super::Host::serve_peer`]. Without a delay for what is
    /// small (`TCP_NODELAY`).
    fn dial(&self, peer: Peer) -> BoxFuture<'_, io::Result<Box<dyn Connection>>>;
}

/// The other hosts.
#[derive(Clone)]
pub struct Elsewhere {
    pub directory: Arc<dyn Directory>,
    pub dial: Arc<dyn Dial>,
}
