//! Starting, stopping, and what happens to disks meanwhile.

use super::disk::Disk;
use super::world::{DiskCopy, Event, Node, World};
use starling_crdt::mutated;
use starling_crdt::{Actor, Replica};
use starling_protocol::ids::PeerId;
use starling_protocol::input::Input;
use starling_protocol::membership::signing::Unsigned;
use starling_protocol::peer::{Peer, Start};
use starling_protocol::time::{Duration, Time};
use std::sync::Arc;

impl World {
    /// A new machine; its peer does not run yet.
    pub fn add(&mut self) -> usize {
        let index = self.nodes.len();
        let skew = i64::try_from(self.plan.skew_ms).unwrap_or(0);
        let skew_ms = i64::try_from(self.lives.between((0, 2 * self.plan.skew_ms))).unwrap_or(0) - skew;
        let weight = if self.plan.client == Some(index) { 0 } else { 100 };
        self.nodes.push(Node {
            name: format!("p{}", index + 1),
            id: PeerId::numbered(index as u64 + 1),
            weight,
            peer: None,
            replica: None,
            disk: Disk::default(),
            durable: Default::default(),
            syncing: Default::default(),
            dirty: Default::default(),
            released: Default::default(),
            releasing: Default::default(),
            questions: Vec::new(),
            waiting: Vec::new(),
            answers: Vec::new(),
            is_syncing: false,
            slow_until: Time(0),
            table: Vec::new(),
            disks: 1,
            table_of: 0,
            boot: 0,
            life: 0,
            let_go: Default::default(),
            incarnations: Default::default(),
            knew: Default::default(),
            wake: None,
            paused_until: Time(0),
            skew_ms,
            is_to_leave: false,
            is_gone: false,
            copy: None,
            was_put_back: false,
            wiped_at: None,
            drift: (0, Time(0)),
            far_ms: 0,
            disk_fails: false,
            rots: false,
            kept_damaged: None,
            is_frozen: false,
        });
        index
    }

    pub fn start(&mut self, index: usize) {
        let now = self.wall_ms(index);
        let (life, seed) = (self.lives.any(), self.lives.any());
        let life = if mutated!(ReuseActor) { index as u64 } else { life };
        let node = &mut self.nodes[index];
        if node.peer.is_some() || node.is_gone || node.is_frozen {
            return;
        }
        node.boot += 1;
        (node.life, node.let_go, node.incarnations) = (life, Default::default(), Default::default());
        let founding = index == 0 && node.boot == 1;
        let replica = Replica::open(&node.disk, Actor(life), seed).expect("memory does not fail");
        let came = replica.came().clone();
        node.replica = Some(replica);
        let addresses = vec![format!("/memory/{index}")];
        let start = Start {
            id: node.id,
            name: node.name.clone(),
            zone: String::new(),
            weight: node.weight,
            addresses: addresses.clone(),
            life,
            genesis: self.genesis.clone(),
            signing: Arc::new(Unsigned),
            config: self.config.clone(),
            seed,
            table: node.table.clone(),
            founding,
            fresh: if node.table.is_empty() { node.disk.is_empty() } else { node.table_of != node.disks },
            came,
        };
        node.peer = Some(Peer::new(start, now));
        let boot = node.boot;
        self.tell(Some(index), || format!("starts, actor {life:016x}"));
        self.input(index, Input::Listening { addresses });
        self.schedule(Duration::ZERO, Event::Seek { to: index, boot });
    }

    /// The process ends at once; what was not synced is lost.
    pub fn crash(&mut self, index: usize) {
        let synced = self.nodes[index].is_syncing && self.disks.one_in(2);
        self.stop(index, synced);
    }

    /// `synced`: a sync under way has come to its end.
    pub fn stop(&mut self, index: usize, synced: bool) {
        if self.nodes[index].peer.is_none() {
            return;
        }
        self.tell(Some(index), || {
            format!("crashes; a sync under way {}", if synced { "counts" } else { "is lost" })
        });
        let node = &mut self.nodes[index];
        (node.peer, node.replica, node.wake, node.paused_until) = (None, None, None, Time(0));
        (node.is_syncing, node.dirty, node.kept_damaged) = (false, Default::default(), None);
        node.questions.clear();
        node.waiting.clear();
        node.answers.clear();
        node.disk.crash(synced);
        if synced {
            self.made_durable(index);
        }
        self.nodes[index].syncing.clear();
        self.nodes[index].released.clear();
        self.nodes[index].releasing.clear();
        self.links.stop_dialling(index);
        for (other, link) in self.links.ends(index) {
            let after = Duration::from_micros(self.network.between(self.plan.latency_us));
            self.schedule(after, Event::Reset { to: other, from: index, link });
        }
    }

    /// The disk is replaced by an empty one; the peer's key was kept elsewhere, and every other time its
    /// table of members.
    pub fn wipe(&mut self, index: usize) {
        self.tell(Some(index), || "its disk is wiped".into());
        self.disk_lost = self.now;
        let id = self.nodes[index].id;
        let known = self.nodes.iter().filter_map(|node| node.peer.as_ref()).flat_map(Peer::members);
        let versions = known.filter(|record| record.id == id).map(|record| record.standing.version);
        let version = versions.max();
        let node = &mut self.nodes[index];
        node.wiped_at = version;
        node.disk = Disk::default();
        node.durable.clear();
        node.disks += 1;
        if node.disks.is_multiple_of(2) {
            node.table.clear();
        }
    }

    /// A new machine with what the disk of another would be after a crash now; its key is its own.
    pub fn clone_disk(&mut self, from: usize) -> usize {
        let index = self.add();
        self.tell(Some(index), || format!("has a copy of the disk of p{}", from + 1));
        let mut disk = self.nodes[from].disk.clone();
        disk.crash(false);
        let durable = self.nodes[from].durable.clone();
        for (partition, context) in &durable {
            let entered = self.ledger.synced(*partition, context, index);
            self.check(entered);
        }
        let node = &mut self.nodes[index];
        (node.disk, node.durable) = (disk, durable);
        index
    }

    /// What its disk would be after a crash now, to be put back later.
    pub fn copy_disk(&mut self, index: usize) {
        self.tell(Some(index), || "its disk is copied".into());
        let node = &mut self.nodes[index];
        let mut disk = node.disk.clone();
        disk.crash(false);
        let (table, durable) = (node.table.clone(), node.durable.clone());
        node.copy = Some(Box::new(DiskCopy { disk, disks: node.disks, table, durable }));
    }

    pub fn roll_back(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(copy) = node.copy.take() else { return };
        self.disk_lost = self.now;
        (node.disk, node.table, node.durable) = (copy.disk, copy.table, copy.durable);
        (node.disks, node.was_put_back) = (copy.disks, true);
        node.table_of = copy.disks;
        // It holds something again, as the member that it was then.
        node.wiped_at = None;
        self.tell(Some(index), || "its disk is put back to the copy".into());
    }
}
