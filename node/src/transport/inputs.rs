//! What happens, on its way to the event loop: what came together goes together, and what waits is bounded in bytes.

use starling_protocol::input::Input;
use starling_protocol::message::Class;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes of frames that wait in one queue, at most: three of the longest. Decoded they take a few times as much, and lists of
/// the shortest names twenty times.
const ROOM: u32 = 64 * 1024 * 1024;
/// Inputs that wait in one queue, at most, however short: of the room, each takes its share.
const INPUTS_MAX: u32 = 4096;

/// Where to tell what happens. While a queue is full, reading waits.
#[derive(Clone)]
pub struct Inputs {
    /// Who is connected, and probes: few, and late ones look like a dead peer.
    pub urgent: Queue,
    /// Requests and repair.
    pub work: Queue,
}

impl Inputs {
    pub(super) fn of(&self, class: Class) -> &Queue {
        if class == Class::Probe { &self.urgent } else { &self.work }
    }
}

/// Inputs that came together. They give their room back when this is dropped.
#[derive(Debug)]
pub struct Batch {
    pub inputs: Vec<Input>,
    _room: OwnedSemaphorePermit,
}

/// The beginning of a queue; its end takes the batches.
#[derive(Clone)]
pub struct Queue {
    batches: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
    /// What the shortest input takes.
    share: usize,
}

impl Queue {
    /// A queue, and its end.
    pub fn new() -> (Self, mpsc::Receiver<Batch>) {
        Self::with_room(ROOM)
    }

    /// One for so many bytes.
    pub(super) fn with_room(bytes: u32) -> (Self, mpsc::Receiver<Batch>) {
        let (batches, taken) = mpsc::channel(INPUTS_MAX as usize);
        let (room, share) = (Arc::new(Semaphore::new(bytes as usize)), (bytes / INPUTS_MAX) as usize);
        (Self { batches, room, share }, taken)
    }

    /// Waits while there is no room for inputs of so many bytes; what needs more than there is waits until all else
    /// has been taken. False: nobody takes them any more.
    pub(super) async fn send(&self, inputs: Vec<Input>, bytes: usize) -> bool {
        let most = self.share * INPUTS_MAX as usize;
        let bytes = bytes.max(inputs.len().saturating_mul(self.share)).min(most) as u32;
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else { return false };
        self.batches.send(Batch { inputs, _room: room }).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_until_it_is_taken() {
        let (queue, mut taken) = Queue::new();
        let half = ROOM as usize / 2;
        assert!(queue.send(vec![Input::Timeout], half).await);
        assert!(queue.send(vec![Input::Timeout; 2], half).await);
        let mut third = Box::pin(queue.send(vec![Input::Timeout], 1));
        assert_eq!((&mut third).now_or_never(), None);
        let first = taken.recv().await.unwrap();
        assert_eq!((&mut third).now_or_never(), None, "it is being handled");
        drop(first);
        assert!(third.await);
        assert_eq!(taken.recv().await.unwrap().inputs.len(), 2);
    }

    #[tokio::test]
    async fn a_batch_longer_than_all_the_room_passes_when_it_is_alone() {
        let (queue, mut taken) = Queue::new();
        assert!(queue.send(vec![Input::Timeout], usize::MAX).await);
        assert_eq!(queue.send(vec![Input::Timeout], 1).now_or_never(), None);
        drop(taken.recv().await);
        drop(taken);
        assert!(!queue.send(vec![Input::Timeout], 1).await, "nobody takes it");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_however_short_it_is() {
        let (queue, _taken) = Queue::new();
        for _ in 0..INPUTS_MAX / 64 {
            assert!(queue.send(vec![Input::Timeout; 64], 64).now_or_never().unwrap());
        }
        assert_eq!(queue.send(vec![Input::Timeout], 1).now_or_never(), None);
    }
}
