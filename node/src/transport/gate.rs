//! Cuts between peers, for testnets: what is blocked vanishes, as with a pulled cable.

use crate::peer_handle::FaultHandle;
use starling_protocol::ids::PeerId;
use std::collections::BTreeSet;
use tokio::sync::watch;

#[derive(Clone)]
pub(super) struct Gate(Option<watch::Receiver<BTreeSet<PeerId>>>);

impl Gate {
    pub fn new(faults: Option<&FaultHandle>) -> Self {
        Self(faults.map(FaultHandle::subscribe))
    }

    pub fn blocks(&self, peer: &PeerId) -> bool {
        self.0.as_ref().is_some_and(|blocked| blocked.borrow().contains(peer))
    }

    pub fn blocked(&self) -> BTreeSet<PeerId> {
        self.0.as_ref().map(|blocked| blocked.borrow().clone()).unwrap_or_default()
    }

    /// Until the set has changed; for ever where there is none.
    pub async fn changed(&mut self) {
        let changed = match &mut self.0 {
            Some(blocked) => blocked.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}
