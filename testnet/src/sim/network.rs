//! What becomes of messages and connections.

use super::checkers::reports;
use super::world::{Event, World};
use starling_protocol::input::Input;
use starling_protocol::message::{Call, Message, Repair};
use starling_protocol::time::Duration;

/// How long all that is sent may vanish before a transport gives a connection up.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a dial without any answer may take, in milliseconds.
const DIAL_MS: (u64, u64) = (500, 5_000);
/// By how much a late frame is late, in milliseconds.
const LATE_MS: (u64, u64) = (1, 300);
/// How many frames are kept to be replayed.
const KEPT_MAX: usize = 128;
/// How often a peer dials one that it can see on its LAN and does not know.
const SEEK_EVERY: Duration = Duration::from_secs(1);

impl World {
    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.network.between(self.plan.latency_us))
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.links.is_cut(a, b) || self.links.is_cut(b, a)
    }

    /// Sends on the connection, or makes one and then sends.
    pub fn send(&mut self, from: usize, to: usize, message: Message) {
        self.count(&message);
        if from == to {
            self.check(Err(format!("{} sends to itself: {message:?}", self.nodes[from].name)));
        }
        let told = reports::check(&self.nodes[from], &message);
        self.check(told.map_err(|why| format!("{} {why}", self.nodes[from].name)));
        match self.links.of(from, self.nodes[from].boot, to) {
            Some(link) => self.transmit(from, to, link.id, message),
            None => {
                self.connect(from, to);
                self.links.wait(from, to, message);
            }
        }
    }

    fn count(&mut self, message: &Message) {
        self.counts.frames += 1;
        match message {
            Message::Call(_) => self.counts.calls += 1,
            Message::Gossip(_) => self.counts.gossip += 1,
            Message::Repair(Repair::Compare { .. } | Repair::Same { .. }) => {}
            Message::Repair(_) => self.counts.repairs += 1,
        }
    }

    fn transmit(&mut self, from: usize, to: usize, link: u64, message: Message) {
        if self.network.per_myriad(self.plan.lost) {
            return;
        }
        self.keep_frame(from, to, link, &message);
        let message = if self.plan.wire { self.over_the_wire(from, message) } else { message };
        let at = self.now + self.latency();
        if self.network.per_myriad(self.plan.twice) {
            let (again, message) = (at + self.network.span_ms(LATE_MS), Box::new(message.clone()));
            self.schedule_at(again, Event::Frame { from, to, link, message });
        }
        let late = self.network.per_myriad(self.plan.late);
        let at = if late { at + self.network.span_ms(LATE_MS) } else { at };
        let at = self.links.arrival(from, to, message.class(), at, late);
        self.schedule_at(at, Event::Frame { from, to, link, message: Box::new(message) });
    }

    /// Some frames are kept, to come again when their connection is gone. Requests to issue a write are not:
    /// no real connection outlives the peers at its ends, and nothing else tells them apart in another life.
    fn keep_frame(&mut self, from: usize, to: usize, link: u64, message: &Message) {
        if !matches!(message, Message::Call(Call::Forward { .. })) && self.network.one_in(16) {
            self.kept.push_back((from, to, link, message.clone()));
            if self.kept.len() > KEPT_MAX {
                self.kept.pop_front();
            }
        }
    }

    /// A frame that was sent to this peer on a connection which is gone comes again.
    pub fn replay(&mut self, to: usize) -> bool {
        let links = &self.links;
        let is_old = |(from, at, link, _): &&(usize, usize, u64, Message)| {
            *at == to && links.between(*from, to) != Some(*link)
        };
        let old: Vec<_> = self.kept.iter().filter(is_old).cloned().collect();
        let Some((from, _, _, message)) = self.network.pick(&old).cloned() else { return false };
        self.tell(Some(to), || format!("gets an old frame of p{} again", from + 1));
        let peer = self.nodes[from].id;
        self.input(to, Input::Received { from: peer, message });
        true
    }

    /// As the transport carries it. What an honest peer says can be read.
    fn over_the_wire(&mut self, from: usize, message: Message) -> Message {
        match Message::decode(&message.encode()) {
            Ok(read) if read == message => read,
            Ok(read) => {
                self.check(Err(format!("what {from} sent was read as another: {message:?} {read:?}")));
                message
            }
            Err(error) => {
                self.check(Err(format!("what {from} sent cannot be read: {error}: {message:?}")));
                message
            }
        }
    }

    pub fn arrive(&mut self, from: usize, to: usize, link: u64, message: Message) {
        let (now, cut) = (self.now, self.links.is_cut(from, to));
        let Some(current) = self.links.get(from, to).filter(|current| current.id == link) else { return };
        if cut {
            let since = *current.silent.get_or_insert(now);
            if now.since(since) > SILENCE_MAX {
                self.give_up_link(from, to, link);
            }
            return;
        }
        current.silent = None;
        if self.links.of(to, self.nodes[to].boot, from).is_none() || self.nodes[to].peer.is_none() {
            let after = self.latency();
            return self.schedule(after, Event::Reset { to: from, from: to, link });
        }
        let peer = self.nodes[from].id;
        self.input(to, Input::Received { from: peer, message });
    }

    fn give_up_link(&mut self, a: usize, b: usize, link: u64) {
        if self.links.close(a, b, link) {
            let (id_a, id_b) = (self.nodes[a].id, self.nodes[b].id);
            self.schedule_input(a, Duration::ZERO, Input::Disconnected { peer: id_b });
            self.schedule_input(b, Duration::ZERO, Input::Disconnected { peer: id_a });
        }
    }

    /// `to` learns that `from` does not know the connection any more, unless a cut hides it.
    pub fn reset(&mut self, to: usize, from: usize, link: u64) {
        let mine = self.links.of(to, self.nodes[to].boot, from).is_some_and(|mine| mine.id == link);
        if mine && !self.links.is_cut(from, to) && self.links.close(from, to, link) {
            let peer = self.nodes[from].id;
            self.input(to, Input::Disconnected { peer });
        }
    }

    pub fn connect(&mut self, from: usize, to: usize) {
        if from == to {
            self.check(Err(format!("{} is to dial itself", self.nodes[from].name)));
        }
        let boot = self.nodes[from].boot;
        if self.links.of(from, boot, to).is_none() && self.links.dial(from, to) {
            let after = self.latency();
            self.schedule(after, Event::Dial { from, boot, to });
        }
    }

    pub fn dialled(&mut self, from: usize, to: usize) {
        let waiting = self.links.dialled(from, to);
        let (peer_from, peer_to) = (self.nodes[from].id, self.nodes[to].id);
        if self.is_cut(from, to) {
            let after = self.network.span_ms(DIAL_MS);
            return self.schedule_input(from, after, Input::Unreachable { peer: peer_to });
        }
        let after = self.latency();
        if self.nodes[to].peer.is_none() {
            // The machine says that nobody listens there, or is off.
            let refuses = self.network.one_in(2);
            let input =
                if refuses { Input::Refused { peer: peer_to } } else { Input::Unreachable { peer: peer_to } };
            return self.schedule_input(from, after, input);
        }
        let (boot_from, boot_to) = (self.nodes[from].boot, self.nodes[to].boot);
        let stands =
            self.links.of(from, boot_from, to).is_some() && self.links.of(to, boot_to, from).is_some();
        if !stands {
            // What is left of an earlier connection is noticed before the new one, or never.
            if self.links.of(to, boot_to, from).is_some() && self.network.one_in(2) {
                self.input(to, Input::Disconnected { peer: peer_from });
            }
            self.replace_links_of_twins(from, to);
            self.links.open((from, boot_from), (to, boot_to));
            self.schedule_input(from, after, Input::Connected { peer: peer_to });
            self.input(to, Input::Connected { peer: peer_from });
        }
        let Some(link) = self.links.of(from, boot_from, to) else { return };
        waiting.into_iter().for_each(|message| self.transmit(from, to, link.id, message));
    }

    /// Of two connections with one key the transport keeps the later.
    fn replace_links_of_twins(&mut self, from: usize, to: usize) {
        let ways = if self.twinned { vec![(from, to), (to, from)] } else { Vec::new() };
        for (one, other) in ways {
            let is_twin = |at: &usize| *at != one && self.nodes[*at].id == self.nodes[one].id;
            let twins: Vec<_> = (0..self.nodes.len()).filter(is_twin).collect();
            for twin in twins {
                if let Some(link) = self.links.between(twin, other) {
                    self.give_up_link(twin, other, link);
                }
            }
        }
    }

    pub fn seek(&mut self, index: usize) {
        let boot = self.nodes[index].boot;
        self.schedule(SEEK_EVERY, Event::Seek { to: index, boot });
        let known =
            |id| self.nodes[index].peer.as_ref().is_some_and(|peer| peer.members().any(|r| r.id == id));
        let others = self.up().into_iter().filter(|other| !known(self.nodes[*other].id));
        let strangers: Vec<_> = others.collect();
        if let Some(other) = self.lives.pick(&strangers).copied() {
            self.connect(index, other);
        }
    }
}
