//! Everything that can happen to a peer.

use crate::ids::{PeerId, RequestId, StoreId};
use crate::message::Message;
use crate::request::Request;
use crate::store::Answer;

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A message of a peer whose identity the transport has proved.
    Received { from: PeerId, message: Message },
    /// A client asks. Answered by exactly one `Effect::Reply` with the same id.
    Request { id: RequestId, request: Request },
    /// Storage answers; a read may be answered before what was asked earlier. The answers of one commit come together,
    /// so that what it has made durable is acknowledged together; `Executed` comes before its commit.
    Stored { answers: Vec<(StoreId, Answer)> },
    /// A connection to this peer stands.
    Connected { peer: PeerId },
    /// The last connection to this peer is gone.
    Disconnected { peer: PeerId },
    /// A connection was needed and could not be had; what was sent to this peer lately is lost.
    Unreachable { peer: PeerId },
    /// No connection to this peer stands, and the machine where the last one led says that nobody listens at
    /// its address any more.
    Refused { peer: PeerId },
    /// Somebody may be at these addresses: a hint, never membership.
    Discovered { peer: PeerId, addresses: Vec<String> },
    /// Where this peer itself listens now.
    Listening { addresses: Vec<String> },
    /// Whether the disk is nearly full. While it is, what brings more to keep is left to others, so that reads, removals
    /// and what is under way inside storage go on. What others wait for when owners change is taken all the same; and of
    /// removals that may wait for what was not taken, a bounded number.
    Room { is_low: bool },
    /// The time of `next_timeout` has come.
    Timeout,
}
