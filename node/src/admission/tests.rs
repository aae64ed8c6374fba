use super::invites::terms;
use super::*;
use crate::directory::Directory;
use crate::network::{self, Wishes};
use starling_protocol::admission::certificate::{CLOCK_TOLERANCE_MS, Role, Terms};
use starling_protocol::admission::invite::{JoinRefusal, State};
use starling_protocol::admission::ticket::{InviteId, Secret, prefix_of, proof};
use starling_protocol::admission::wire::{JoinReply, JoinRequest};

const HOUR: Duration = Duration::from_secs(3600);

struct Home {
    dir: tempfile::TempDir,
    keys: Keys,
    genesis: SignedGenesis,
}

impl Home {
    fn founder() -> Self {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Keys::generate());
        let directory = Directory::open(dir.path()).unwrap();
        let wishes = Wishes { name: "home".into(), partitions: 8, n: 1, r: 1, w: 1 };
        let genesis = network::found(&directory, &keys, wishes).unwrap();
        Self { dir, keys, genesis }
    }

    /// A directory of the same network, without a certificate yet.
    fn newcomer(&self) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), keys: Keys::generate(), genesis: self.genesis.clone() }
    }

    fn try_open(&self) -> Result<Admission, Error> {
        Admission::open(self.dir.path(), self.keys.clone(), self.genesis.clone())
    }

    fn open(&self) -> Admission {
        self.try_open().unwrap()
    }

    fn me(&self) -> PeerId {
        self.keys.peer()
    }

    fn request(&self, inviter: &Admission, secret: &Secret) -> JoinRequest {
        let network = prefix_of(&self.genesis.network_id());
        let proof = proof(&secret.key(), network, inviter.me(), self.me());
        JoinRequest { network, invite: secret.id(), proof }
    }

    /// Comes in by a ticket; keeps what it gets.
    fn come(&self, inviter: &Admission, secret: &Secret) -> Result<(), JoinRefusal> {
        match inviter.redeem(self.me(), &self.request(inviter, secret)) {
            JoinReply::Welcome { chain, .. } => {
                save_certificate(self.dir.path(), &Chain::decode(&chain).unwrap()).unwrap();
                Ok(())
            }
            JoinReply::Refused(refusal) => Err(refusal),
        }
    }
}

fn wish(uses: u16) -> Wish {
    Wish { role: Role::Storage, uses, ttl: HOUR }
}

#[test]
fn a_ticket_brings_a_newcomer_in_and_it_survives_restarts() {
    let (founder, newcomer, late) = (Home::founder(), Home::founder(), Home::founder());
    let newcomer = Home { genesis: founder.genesis.clone(), ..newcomer };
    let late = Home { genesis: founder.genesis.clone(), ..late };
    let error = newcomer.try_open().err().unwrap().to_string();
    assert!(error.contains("starling invite"), "{error}");

    let (secret, _) = founder.open().invite(wish(1)).unwrap();
    assert_eq!(newcomer.come(&founder.open(), &secret), Ok(()));
    assert_eq!(newcomer.come(&founder.open(), &secret), Ok(()), "it may ask again");
    assert_eq!(late.come(&founder.open(), &secret), Err(JoinRefusal::Spent));
    let (ours, theirs) = (founder.open(), newcomer.open());
    assert!(ours.check(newcomer.me(), &theirs.own_chain()).is_ok());
    assert!(theirs.check(founder.me(), &ours.own_chain()).is_ok());
    assert_eq!(ours.check(late.me(), &theirs.own_chain()), Err(Refusal::OtherPeer));
    assert_eq!(ours.check(late.me(), &ours.own_chain()), Err(Refusal::NoCertificate));
}

#[test]
fn a_withdrawn_ticket_and_one_of_no_time_let_nobody_in() {
    let founder = Home::founder();
    let newcomer = founder.newcomer();
    let admission = founder.open();
    let (secret, line) = admission.invite(wish(1)).unwrap();
    admission.withdraw(line.id).unwrap();
    assert_eq!(newcomer.come(&founder.open(), &secret), Err(JoinRefusal::Withdrawn));
    assert!(admission.withdraw(InviteId::new([0; 8])).is_err());
    let (secret, line) = admission.invite(Wish { ttl: Duration::ZERO, ..wish(1) }).unwrap();
    while wall_ms() <= line.expires_ms {
        std::thread::yield_now();
    }
    assert_eq!(newcomer.come(&admission, &secret), Err(JoinRefusal::Expired));
}

#[test]
fn many_at_once_do_not_spend_a_ticket_twice() {
    let founder = Home::founder();
    let admission = founder.open();
    let (secret, _) = admission.invite(wish(3)).unwrap();
    let came = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..12).map(|_| scope.spawn(|| founder.newcomer().come(&admission, &secret).is_ok())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|came| *came).count()
    });
    assert_eq!(came, 3);
    assert_eq!(admission.invites()[0].taken.len(), 3);
    assert_eq!(admission.invites()[0].state, State::Spent);
}

#[test]
fn a_revoked_peer_is_out_everywhere_and_cannot_come_back_by_its_old_ticket() {
    let (founder, other) = (Home::founder(), Home::founder());
    let newcomer = founder.newcomer();
    let member = Home { genesis: founder.genesis.clone(), ..other };
    let admission = founder.open();
    let (secret, _) = admission.invite(wish(2)).unwrap();
    newcomer.come(&admission, &secret).unwrap();
    member.come(&admission, &secret).unwrap();
    let (theirs, members) = (newcomer.open(), member.open());
    admission.check(newcomer.me(), &theirs.own_chain()).unwrap();

    let denied = members.revoke(newcomer.me()).unwrap_err();
    assert!(denied.contains("not been seen here"), "{denied}");
    members.check(newcomer.me(), &theirs.own_chain()).unwrap();
    let denied = members.revoke(newcomer.me()).unwrap_err();
    assert!(denied.contains("only the founder"), "{denied}");
    admission.revoke(newcomer.me()).unwrap();
    assert_eq!(admission.check_again(newcomer.me()), Err(Refusal::Revoked));
    assert_ne!(admission.revoked_digest(), members.revoked_digest());
    members.learn(&admission.revocations()).unwrap();
    theirs.learn(&admission.revocations()).unwrap();
    assert_eq!(admission.revoked_digest(), members.revoked_digest());

    for again in [founder.open(), member.open()] {
        assert_eq!(again.check(newcomer.me(), &theirs.own_chain()), Err(Refusal::Revoked));
    }
    assert_eq!(theirs.own_grant(), Err(Refusal::Revoked));
    let error = newcomer.try_open().err().unwrap().to_string();
    assert!(error.contains("revoked") && error.contains("starling invite"), "{error}");
    assert_eq!(newcomer.come(&admission, &secret), Err(JoinRefusal::Ended), "and by no other machine");
    let (secret, _) = admission.invite(wish(1)).unwrap();
    newcomer.come(&admission, &secret).unwrap();
    assert!(newcomer.try_open().is_ok(), "a new ticket lets it in again");
}

#[test]
fn a_peer_that_has_come_in_by_two_tickets_is_out_with_both() {
    let founder = Home::founder();
    let newcomer = founder.newcomer();
    let admission = founder.open();
    let chains = [1, 2].map(|_| {
        let (secret, _) = admission.invite(wish(1)).unwrap();
        newcomer.come(&admission, &secret).unwrap();
        newcomer.open().own_chain()
    });
    for shown in [None, Some(&chains[0]), Some(&chains[1])] {
        let here = founder.open();
        shown.into_iter().for_each(|chain| drop(here.check(newcomer.me(), chain).unwrap()));
        assert_eq!(here.revoke(newcomer.me()), Ok(Revoked { remain: 0 }));
        for chain in &chains {
            assert_eq!(here.check(newcomer.me(), chain), Err(Refusal::Revoked));
        }
        std::fs::remove_file(founder.dir.path().join(files::REVOCATIONS)).unwrap();
    }
}

/// At a peer that has given it none of them.
#[test]
fn a_peer_that_has_shown_two_certificates_is_out_with_both_or_that_is_said() {
    let founder = Home::founder();
    let (member, newcomer) = (founder.newcomer(), founder.newcomer());
    let founders = founder.open();
    let ticket_of = |inviter: &Admission, who: &Home| {
        let (secret, _) = inviter.invite(wish(1)).unwrap();
        who.come(inviter, &secret).unwrap();
        who.open().own_chain()
    };
    ticket_of(&founders, &member);
    let members = member.open();
    let chains = [ticket_of(&founders, &newcomer), ticket_of(&members, &newcomer)];
    let restarted = member.open();
    chains.iter().for_each(|chain| drop(restarted.check(newcomer.me(), chain).unwrap()));
    assert_eq!(restarted.revoke(newcomer.me()), Ok(Revoked { remain: 1 }));
    assert!(restarted.check(newcomer.me(), &chains[0]).is_ok(), "the founder's remains");
    assert_eq!(restarted.check(newcomer.me(), &chains[1]), Err(Refusal::Revoked));
    chains.iter().for_each(|chain| drop(founders.check(newcomer.me(), chain).unwrap()));
    assert_eq!(founders.revoke(newcomer.me()), Ok(Revoked { remain: 0 }));
    for chain in &chains {
        assert_eq!(founders.check(newcomer.me(), chain), Err(Refusal::Revoked));
    }
}

#[test]
fn whoever_knows_of_a_revocation_that_is_none_is_not_believed() {
    let (founder, stranger) = (Home::founder(), Home::founder());
    let admission = founder.open();
    let their_peer = stranger.newcomer();
    let strangers = stranger.open();
    let (secret, _) = strangers.invite(wish(1)).unwrap();
    their_peer.come(&strangers, &secret).unwrap();
    strangers.revoke(their_peer.me()).unwrap();
    let before = admission.revoked_digest();
    assert!(admission.learn(&strangers.revocations()).is_err());
    assert!(admission.learn(&[ByteBuf::from(b"nonsense".to_vec())]).is_err());
    assert_eq!(admission.revoked_digest(), before);
}

#[test]
fn what_is_wrong_with_one_revocation_keeps_no_other_from_being_learned() {
    let founder = Home::founder();
    let (newcomer, member) = (founder.newcomer(), founder.newcomer());
    let admission = founder.open();
    let (secret, _) = admission.invite(wish(2)).unwrap();
    newcomer.come(&admission, &secret).unwrap();
    member.come(&admission, &secret).unwrap();
    let members = member.open();
    admission.revoke(newcomer.me()).unwrap();
    let strangers = Home::founder();
    let foreigner = strangers.newcomer();
    let foreign = strangers.open();
    let (secret, _) = foreign.invite(wish(1)).unwrap();
    foreigner.come(&foreign, &secret).unwrap();
    foreign.revoke(foreigner.me()).unwrap();
    let nonsense = vec![ByteBuf::from(b"nonsense".to_vec())];
    let told = [nonsense, foreign.revocations(), admission.revocations()].concat();
    assert!(members.learn(&told).is_err());
    assert_eq!(members.revoked_digest(), admission.revoked_digest());
    assert_eq!(member.open().revoked_digest(), admission.revoked_digest(), "and they are on disk");
}

#[test]
fn who_tells_of_more_than_there_is_room_for_is_heard_to_the_end() {
    let learned = |failed, malformed| Taken { held: 3, failed, unsaved: None }.learned(malformed);
    for failed in [None, Some(RevocationError::Full), Some(RevocationError::FullOfTokens)] {
        assert_eq!(learned(failed, None), Ok(3));
        assert!(learned(failed, Some(RevocationError::Malformed)).is_err());
    }
    assert!(learned(Some(RevocationError::Signer), None).is_err());
}

#[test]
fn what_is_revoked_counts_though_the_disk_takes_it_not() {
    let founder = Home::founder();
    let newcomer = founder.newcomer();
    let admission = founder.open();
    let (secret, _) = admission.invite(wish(1)).unwrap();
    newcomer.come(&admission, &secret).unwrap();
    admission.check(newcomer.me(), &newcomer.open().own_chain()).unwrap();
    let told = admission.watch_revocations();
    let in_the_way = founder.dir.path().join(files::REVOCATIONS);
    std::fs::create_dir(&in_the_way).unwrap();
    let unsaved = admission.revoke(newcomer.me()).unwrap_err();
    assert!(unsaved.contains("it is revoked") && unsaved.contains("could not write"), "{unsaved}");
    assert_eq!(admission.check_again(newcomer.me()), Err(Refusal::Revoked));
    assert!(told.has_changed().unwrap(), "the others are told");
    std::fs::remove_dir(&in_the_way).unwrap();
    admission.revoke(newcomer.me()).unwrap();
    assert_eq!(founder.open().revoked_digest(), admission.revoked_digest());
}

#[test]
fn who_was_let_in_is_asked_for_its_end_and_its_revocation_alone() {
    let founder = Home::founder();
    let admission = founder.open();
    let [long, short] = [HOUR, Duration::ZERO].map(|counts_for| {
        let (member, now) = (founder.newcomer(), wall_ms());
        let terms = Terms { not_after_ms: now + millis(counts_for), ..terms(Role::Storage).unwrap() };
        let chain = Chain::default().issue(&founder.genesis, &founder.keys, member.me(), terms).unwrap();
        (member.me(), chain)
    });
    assert_eq!(admission.check_again(long.0), Err(Refusal::NoCertificate));
    let not_after_ms = short.1.own().unwrap().not_after_ms;
    for (peer, chain) in [&long, &short] {
        let met = Met::new(chain.clone(), chain.own().unwrap().not_after_ms);
        admission.state().met.insert(*peer, met);
    }
    assert_eq!(admission.check_again(long.0), Ok(()));
    while wall_ms() <= not_after_ms {
        std::thread::yield_now();
    }
    assert_eq!(admission.check_again(short.0), Err(Refusal::Expired));
    let began = Instant::now();
    (0..10_000).for_each(|_| admission.check_again(long.0).unwrap());
    assert!(began.elapsed() < Duration::from_secs(1), "nothing is verified: {:?}", began.elapsed());
    admission.revoke(long.0).unwrap();
    assert_eq!(admission.check_again(long.0), Err(Refusal::Revoked));
}

#[test]
fn a_peer_whose_clock_is_days_off_goes_by_the_time_that_others_tell() {
    let day = CLOCK_TOLERANCE_MS;
    let admission = Home::founder().open();
    let clock = crate::clock::Clock::start(admission.clock_correction());
    let ahead_ms = || clock.now().wall_ms.abs_diff(wall_ms());
    assert!(ahead_ms() < day / 24, "nobody has told anything");
    (1..=2).for_each(|n| admission.hear_clock(PeerId::numbered(n), wall_ms() + 3 * day));
    assert!(ahead_ms().abs_diff(3 * day) < day / 24, "{}", ahead_ms());
    assert!(clock.now().wall_ms > wall_ms());
    // They have set theirs, or were wrong.
    (1..=2).for_each(|n| admission.hear_clock(PeerId::numbered(n), wall_ms()));
    assert!(ahead_ms() < day / 24, "{}", ahead_ms());
}

#[test]
fn a_client_invites_nobody() {
    let founder = Home::founder();
    let client = founder.newcomer();
    let admission = founder.open();
    let (secret, _) = admission.invite(Wish { role: Role::Client, ..wish(1) }).unwrap();
    client.come(&admission, &secret).unwrap();
    assert_eq!(client.open().own_grant().unwrap().weight_max, 0);
    assert!(client.open().invite(wish(1)).unwrap_err().contains("client"));
}

#[test]
fn damaged_files_are_named_with_what_to_do() {
    for (file, hint) in [
        (files::CERTIFICATE, "join again"),
        (files::REVOCATIONS, "the other peers tell again"),
        ("invites.cbor", "tickets"),
    ] {
        let founder = Home::founder();
        std::fs::write(founder.dir.path().join(file), b"nonsense").unwrap();
        let error = founder.try_open().err().unwrap().to_string();
        assert!(error.contains(file) && error.contains(hint), "{error}");
    }
}

/// Keys cost nothing, and each would be shown to this peer's own user.
#[test]
fn what_a_stranger_says_of_this_peer_is_not_kept() {
    let founder = Home::founder();
    let newcomer = founder.newcomer();
    let admission = founder.open();
    for n in 0..2 * REFUSALS_MAX as u64 {
        assert!(!admission.refused_by(PeerId::numbered(n), Refusal::Revoked));
    }
    assert_eq!(admission.refusals(), []);
    let (member, other) = (PeerId::numbered(1), PeerId::numbered(2));
    admission.members_are([member].into());
    assert!(admission.refused_by(member, Refusal::Expired) && !admission.refused_by(other, Refusal::Expired));
    let (secret, _) = admission.invite(wish(1)).unwrap();
    newcomer.come(&admission, &secret).unwrap();
    let theirs = newcomer.open();
    admission.check(newcomer.me(), &theirs.own_chain()).unwrap();
    assert!(admission.refused_by(newcomer.me(), Refusal::Revoked), "it has shown a certificate");
    assert_eq!(admission.refusals().len(), 2);
    // It shows it at each try, and says no each time.
    admission.check(newcomer.me(), &theirs.own_chain()).unwrap();
    assert_eq!(admission.refusals().len(), 1, "it may have thought better of it");
    assert!(!admission.refused_by(newcomer.me(), Refusal::Revoked), "that is no news");
    assert!(admission.refused_by(newcomer.me(), Refusal::Expired));
    // One whose own certificate is no good hears it from anybody.
    assert!(!theirs.refused_by(other, Refusal::Revoked));
    theirs.revoke(newcomer.me()).unwrap();
    assert!(theirs.refused_by(other, Refusal::Revoked));
}
