//! The stages of a file on its way to its final name, as a pure state machine.
//!
//! [`Stage::next`] says what follows from what was observed. It makes no request itself, so every
//! habit of a server is a row of a table. A broken connection is no observation: it ends the attempt.

mod seen;

use job::{
    delivery::{DeliveryStatus, Settled, Verified},
    transport::Overwrite,
};

pub use self::seen::{Code, EntryKind};
pub(crate) use self::seen::{Identity, Observation, Refusal};

/// The rules of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting or a fact of its own")]
pub(crate) struct Rules {
    /// Treatment of a file that has the final name.
    pub(crate) overwrite: Overwrite,
    /// Whether the file is written under its final name.
    pub(crate) is_direct: bool,
    /// Whether equal size is not enough to call a file the same: a second file has its checksum, or a
    /// file in place may be half of one.
    pub(crate) compares_content: bool,
    /// Whether the server announces `posix-rename@openssh.com`.
    pub(crate) posix_rename: bool,
    /// Whether the partner takes files away as soon as they appear.
    pub(crate) partner_takes_files: bool,
    /// Whether sizes are checked.
    pub(crate) checks_size: bool,
    /// Size of the file.
    pub(crate) size_bytes: u64,
}

/// A stage, which is also the request that is made in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Look for the temporary file of an earlier attempt that was about to publish.
    LookForTemporary,
    /// It is gone: look for the file under its final name.
    LookForPublished,
    /// Read that file back, to tell it from an older one of the same size.
    ComparePublished {
        /// Whether it is known not to be the older one.
        is_new: bool,
    },
    /// Write down that nothing was published, and put back an old file that was moved aside.
    Withdraw {
        /// Mark for the receipt.
        settled: Option<Settled>,
    },
    /// Look at the final path before anything is sent.
    LookBefore,
    /// Read the file at the final path back.
    CompareBefore {
        /// Whether the file was sent meanwhile.
        is_sent: bool,
    },
    /// Write the file, close it and check it.
    Send,
    /// Look at the final path again: another file may have come.
    LookAgain,
    /// Write the intent to publish into the journal.
    Intend,
    /// Rename the temporary file to the final path.
    Rename {
        /// By the request that replaces a file.
        posix: bool,
    },
    /// Rename the temporary file of an earlier attempt, which the server does not let us look for.
    RenameUnseen,
    /// The rename was refused: look at the final path.
    LookAtTarget(Refusal),
    /// Look at the temporary file, before anything of the recipient's is moved for it.
    LookAtSource {
        /// The refusal of the rename.
        refusal: Refusal,
        /// Whether a file has the final path, or may have it.
        is_taken: bool,
    },
    /// Move the old file aside.
    MoveAside(Refusal),
    /// Rename the temporary file to the path that is free now.
    Replace,
    /// That was refused, too: put the old file back.
    PutBack(Refusal),
    /// Wait, because a scanner may hold the file, and rename again.
    Wait(Refusal),
    /// Remove the old file.
    RemoveBackup,
    /// Look at the published file.
    LookAfter,
    /// The file is at the recipient.
    Published {
        /// The way in which it came there.
        status: DeliveryStatus,
        /// The check that it passed; nothing if the check of the temporary file counts.
        verified: Option<Verified>,
        /// Settlement of a lost answer.
        settled: Option<Settled>,
        /// Whether it was seen.
        seen: Option<bool>,
    },
    /// The delivery fails.
    Failed(Failure),
}

/// Reason why a delivery fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Another file is there, and must not be replaced.
    Exists,
    /// The server does not let us look, and a file that is there must not be replaced.
    Look(Refusal),
    /// Something is there that is not a file.
    InTheWay(EntryKind),
    /// The rename was refused.
    Rename(Refusal),
    /// The rename was refused, and the old file could not be put back.
    OldFileAside(Refusal),
    /// The temporary file is gone, and the final path is empty.
    Vanished,
    /// The published file has another size.
    PublishedSize {
        /// The size that the server tells.
        found: u64,
    },
}

impl Stage {
    /// Returns the first stage. `has_intent`: an earlier attempt was about to publish.
    pub(crate) fn first(has_intent: bool) -> Self {
        if has_intent { Self::LookForTemporary } else { Self::LookBefore }
    }

    /// Returns the stage after `seen`.
    ///
    /// # Panics
    ///
    /// When the stage's request cannot have that observation, or the stage is a last one.
    pub(crate) fn next(self, seen: Observation, rules: &Rules) -> Self {
        match self {
            Self::LookForTemporary
            | Self::LookForPublished
            | Self::ComparePublished { .. }
            | Self::Withdraw { .. } => self.settle(seen, rules),
            Self::LookBefore
            | Self::CompareBefore { .. }
            | Self::Send
            | Self::LookAgain
            | Self::Intend => self.send(seen, rules),
            Self::Rename { .. }
            | Self::RenameUnseen
            | Self::LookAtTarget(_)
            | Self::LookAtSource { .. }
            | Self::MoveAside(_)
            | Self::Replace
            | Self::PutBack(_)
            | Self::Wait(_)
            | Self::RemoveBackup
            | Self::LookAfter => self.publish(seen, rules),
            Self::Published { .. } | Self::Failed(_) => self.no(&seen),
        }
    }

    /// An earlier attempt was about to publish. The temporary name belonged to it alone, so what
    /// became of the name tells what became of the file.
    fn settle(self, seen: Observation, rules: &Rules) -> Self {
        use Observation::{Absent, Done, Found, Refused, Same};
        let again = || Self::Withdraw { settled: Some(Settled::SentAgain) };
        match (self, seen) {
            // It was not renamed, and is complete: its size is that of the intent.
            (Self::LookForTemporary, Found { size_bytes, .. }) => match size_bytes {
                Some(found) if rules.checks_size && found != rules.size_bytes => {
                    Self::Withdraw { settled: None }
                }
                _ => Self::LookAgain,
            },
            (Self::LookForTemporary, Absent) => Self::LookForPublished,
            // Where looking is forbidden, the rename itself tells whether there is something.
            (Self::LookForTemporary, Refused(_)) => Self::RenameUnseen,
            (Self::LookForPublished, Found { kind: EntryKind::File, size_bytes, identity })
                if size_bytes.is_none_or(|found| found == rules.size_bytes) =>
            {
                match identity {
                    Identity::Ours => found(Some(true)),
                    Identity::Old => again(),
                    Identity::Another => Self::ComparePublished { is_new: true },
                    Identity::Unknown => Self::ComparePublished { is_new: false },
                }
            }
            (Self::LookForPublished, Found { .. } | Absent | Refused(_))
                if rules.partner_takes_files =>
            {
                Self::Published {
                    status: DeliveryStatus::Delivered,
                    verified: None,
                    settled: Some(Settled::Taken),
                    seen: Some(false),
                }
            }
            // It came since the look before the rename: a server may store files in another form.
            (
                Self::LookForPublished,
                Found {
                    kind: EntryKind::File,
                    size_bytes: Some(size_bytes),
                    identity: Identity::Another,
                },
            ) => {
                if rules.checks_size {
                    Self::Failed(Failure::PublishedSize { found: size_bytes })
                } else {
                    found(Some(true))
                }
            }
            (Self::LookForPublished, Found { .. } | Absent | Refused(_))
            | (Self::ComparePublished { .. }, Same(false) | Absent)
            // It may be the old one, and the receipt must not say otherwise.
            | (Self::ComparePublished { is_new: false }, Refused(_)) => again(),
            (Self::ComparePublished { .. }, Same(true) | Refused(_)) => found(Some(true)),
            (Self::Withdraw { .. }, Done) => Self::LookBefore,
            (stage, seen) => stage.no(&seen),
        }
    }

    fn send(self, seen: Observation, rules: &Rules) -> Self {
        use Observation::{Absent, Done, Found, Refused, Same};
        match (self, seen) {
            (Self::LookBefore, Found { kind, size_bytes, .. }) => {
                meet(kind, size_bytes == Some(rules.size_bytes), false, rules)
            }
            // The rename of an earlier attempt was carried out just now.
            (Self::LookAgain, Found { identity: Identity::Ours, .. }) => found(Some(true)),
            (Self::LookAgain, Found { kind, size_bytes, .. }) => {
                meet(kind, size_bytes == Some(rules.size_bytes), true, rules)
            }
            // Without a look nobody knows whether a rename replaces a file.
            (Self::LookBefore | Self::LookAgain, Refused(refusal))
                if rules.overwrite == Overwrite::Fail =>
            {
                Self::Failed(Failure::Look(refusal))
            }
            (Self::LookBefore, Absent | Refused(_))
            | (Self::CompareBefore { is_sent: false }, Absent) => Self::Send,
            (Self::LookAgain, Absent | Refused(_))
            | (Self::CompareBefore { is_sent: true }, Absent) => Self::Intend,
            (Self::CompareBefore { .. }, Same(true)) => Self::Published {
                status: DeliveryStatus::AlreadyThere,
                verified: Some(Verified::Readback),
                settled: None,
                seen: Some(true),
            },
            (Self::CompareBefore { is_sent }, Same(false) | Refused(_)) => {
                if rules.overwrite == Overwrite::Fail {
                    Self::Failed(Failure::Exists)
                } else {
                    proceed(is_sent)
                }
            }
            (Self::Send, Done) if rules.is_direct => Self::LookAfter,
            (Self::Send, Done) => Self::LookAgain,
            (Self::Intend, Done) => Self::Rename { posix: rules.posix_rename },
            (stage, seen) => stage.no(&seen),
        }
    }

    fn publish(self, seen: Observation, rules: &Rules) -> Self {
        use Observation::{Absent, Done, Found, NoTime, Refused};
        match (self, seen) {
            (Self::Rename { .. } | Self::RenameUnseen, Done)
            | (Self::RemoveBackup, Done | Absent | Refused(_)) => Self::LookAfter,
            // Nobody may look, and the temporary name is gone: it was renamed.
            (Self::RenameUnseen, Refused(Refusal { code: Code::NoSuchFile, .. })) => found(None),
            // Some servers announce the request and refuse it.
            (Self::Rename { posix: true }, Refused(_)) => Self::Rename { posix: false },
            // A rename onto a file is refused with any code: 4, 3, 8 and 2 were seen.
            (Self::Rename { posix: false } | Self::RenameUnseen, Refused(refusal)) => {
                Self::LookAtTarget(refusal)
            }
            (
                Self::LookAtTarget(_),
                Found { kind: EntryKind::File, size_bytes, identity: Identity::Ours },
            ) if size_bytes.is_none_or(|found| found == rules.size_bytes) => Self::LookAfter,
            (Self::LookAtTarget(refusal), Found { kind: EntryKind::File, .. }) => {
                if rules.overwrite == Overwrite::Fail {
                    Self::Failed(Failure::Exists)
                } else {
                    Self::LookAtSource { refusal, is_taken: true }
                }
            }
            (Self::LookAtTarget(_), Found { kind, .. }) => Self::Failed(Failure::InTheWay(kind)),
            (Self::LookAtTarget(refusal), Absent) => {
                Self::LookAtSource { refusal, is_taken: false }
            }
            (Self::LookAtTarget(_), Refused(look)) if rules.overwrite == Overwrite::Fail => {
                Self::Failed(Failure::Look(look))
            }
            (Self::LookAtTarget(refusal), Refused(_)) => {
                Self::LookAtSource { refusal, is_taken: true }
            }
            (Self::LookAtSource { .. }, Absent) => Self::Failed(Failure::Vanished),
            (Self::LookAtSource { refusal, is_taken: true }, Found { .. } | Refused(_)) => {
                Self::MoveAside(refusal)
            }
            // A rename that the server does not know is not refused for a lock.
            (Self::LookAtSource { refusal, .. }, _) if refusal.code == Code::Unsupported => {
                Self::Failed(Failure::Rename(refusal))
            }
            (Self::LookAtSource { refusal, .. }, Found { .. } | Refused(_))
            | (Self::MoveAside(refusal), Refused(_))
            | (Self::PutBack(refusal), Done) => Self::Wait(refusal),
            (Self::MoveAside(_), Done) => Self::Replace,
            (Self::Replace, Done) => Self::RemoveBackup,
            (Self::Replace, Refused(refusal)) => Self::PutBack(refusal),
            (Self::PutBack(refusal), Refused(_)) => Self::Failed(Failure::OldFileAside(refusal)),
            (Self::Wait(_), Done) => Self::Rename { posix: rules.posix_rename },
            (Self::Wait(refusal), NoTime) => Self::Failed(Failure::Rename(refusal)),
            (Self::LookAfter, Found { size_bytes: Some(found), .. })
                if rules.checks_size && found != rules.size_bytes =>
            {
                Self::Failed(Failure::PublishedSize { found })
            }
            (Self::LookAfter, Found { .. }) => sent(Some(true)),
            (Self::LookAfter, Absent) => sent(Some(false)),
            (Self::LookAfter, Refused(_)) => sent(None),
            (stage, seen) => stage.no(&seen),
        }
    }

    fn no(&self, seen: &Observation) -> Self {
        unreachable!("{self:?} has no observation {seen:?}")
    }
}

/// Something has the final path.
fn meet(kind: EntryKind, is_same_size: bool, is_sent: bool, rules: &Rules) -> Stage {
    match kind {
        EntryKind::File => {}
        // Writing in place goes through the link.
        EntryKind::Link if rules.is_direct => {}
        kind => return Stage::Failed(Failure::InTheWay(kind)),
    }
    match rules.overwrite {
        Overwrite::Replace => proceed(is_sent),
        Overwrite::Fail if is_same_size => Stage::CompareBefore { is_sent },
        Overwrite::Fail => Stage::Failed(Failure::Exists),
        Overwrite::SkipIfSameSize if !is_same_size || is_sent => proceed(is_sent),
        Overwrite::SkipIfSameSize if rules.compares_content => Stage::CompareBefore { is_sent },
        Overwrite::SkipIfSameSize => Stage::Published {
            status: DeliveryStatus::AlreadyThere,
            verified: Some(Verified::Size),
            settled: None,
            seen: Some(true),
        },
    }
}

fn proceed(is_sent: bool) -> Stage {
    if is_sent { Stage::Intend } else { Stage::Send }
}

fn sent(seen: Option<bool>) -> Stage {
    Stage::Published { status: DeliveryStatus::Delivered, verified: None, settled: None, seen }
}

/// An earlier attempt had published the file.
fn found(seen: Option<bool>) -> Stage {
    let settled = Some(Settled::Found);
    Stage::Published { status: DeliveryStatus::Delivered, verified: None, settled, seen }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules {
        overwrite: Overwrite::Replace,
        is_direct: false,
        compares_content: false,
        posix_rename: true,
        partner_takes_files: false,
        checks_size: true,
        size_bytes: 7,
    };

    fn refused(code: Code) -> Observation {
        Observation::Refused(Refusal { code, message: String::new() })
    }

    fn file(size_bytes: u64, is_ours: Option<bool>) -> Observation {
        let identity = match is_ours {
            Some(true) => Identity::Ours,
            Some(false) => Identity::Old,
            None => Identity::Unknown,
        };
        Observation::Found { kind: EntryKind::File, size_bytes: Some(size_bytes), identity }
    }

    fn another(size_bytes: u64) -> Observation {
        let identity = Identity::Another;
        Observation::Found { kind: EntryKind::File, size_bytes: Some(size_bytes), identity }
    }

    fn other(kind: EntryKind) -> Observation {
        Observation::Found { kind, size_bytes: None, identity: Identity::Unknown }
    }

    /// Goes through the observations and compares the last stage.
    #[track_caller]
    fn check(has_intent: bool, rules: &Rules, seen: &[Observation], expected: &Stage) {
        let mut stage = Stage::first(has_intent);
        for observation in seen {
            stage = stage.next(observation.clone(), rules);
        }
        assert_eq!(&stage, expected, "{seen:?}");
    }

    fn delivered(seen: Option<bool>) -> Stage {
        sent(seen)
    }

    fn already_there(verified: Verified) -> Stage {
        Stage::Published {
            status: DeliveryStatus::AlreadyThere,
            verified: Some(verified),
            settled: None,
            seen: Some(true),
        }
    }

    #[test]
    fn a_file_is_sent_then_renamed() {
        use Observation::{Absent, Done};
        let whole = [Absent, Done, Absent, Done, Done, file(7, Some(true))];
        check(false, &RULES, &whole, &delivered(Some(true)));
        let unseen = [Absent, Done, Absent, Done, Done, Absent];
        check(false, &RULES, &unseen, &delivered(Some(false)));
        let hidden =
            [refused(Code::Denied), Done, refused(Code::Denied), Done, Done, refused(Code::Denied)];
        check(false, &RULES, &hidden, &delivered(None));
        let direct = Rules { is_direct: true, ..RULES };
        check(false, &direct, &[Absent, Done, file(7, None)], &delivered(Some(true)));
    }

    #[test]
    fn the_overwrite_policy_decides_about_a_file_that_is_there() {
        use Observation::{Absent, Done, Same};
        let fail = Rules { overwrite: Overwrite::Fail, ..RULES };
        let skip = Rules { overwrite: Overwrite::SkipIfSameSize, ..RULES };
        let careful = Rules { compares_content: true, ..skip };
        let exists = Stage::Failed(Failure::Exists);
        for (rules, seen, expected) in [
            (RULES, vec![file(7, None)], Stage::Send),
            (fail, vec![file(3, None)], exists.clone()),
            (fail, vec![file(7, None), Same(false)], exists.clone()),
            (fail, vec![file(7, None), refused(Code::Denied)], exists.clone()),
            (fail, vec![file(7, None), Same(true)], already_there(Verified::Readback)),
            (fail, vec![file(7, None), Absent], Stage::Send),
            (fail, vec![Absent, Done, file(3, None)], exists.clone()),
            (fail, vec![Absent, Done, Absent], Stage::Intend),
            (skip, vec![file(7, None)], already_there(Verified::Size)),
            (skip, vec![file(3, None)], Stage::Send),
            (skip, vec![Absent, Done, file(7, None)], Stage::Intend),
            (careful, vec![file(7, None), Same(true)], already_there(Verified::Readback)),
            (careful, vec![file(7, None), Same(false)], Stage::Send),
        ] {
            check(false, &rules, &seen, &expected);
        }
        let hidden = Refusal { code: Code::Denied, message: String::new() };
        check(false, &fail, &[refused(Code::Denied)], &Stage::Failed(Failure::Look(hidden)));
    }

    #[test]
    fn nothing_but_a_file_is_replaced() {
        use Observation::{Absent, Done};
        for kind in [EntryKind::Directory, EntryKind::Link, EntryKind::Other] {
            let failed = Stage::Failed(Failure::InTheWay(kind));
            check(false, &RULES, &[other(kind)], &failed);
            check(false, &RULES, &[Absent, Done, other(kind)], &failed);
            let plain = Rules { posix_rename: false, ..RULES };
            let late = [Absent, Done, Absent, Done, refused(Code::Failure), other(kind)];
            check(false, &plain, &late, &failed);
        }
        let direct = Rules { is_direct: true, ..RULES };
        check(false, &direct, &[other(EntryKind::Link)], &Stage::Send);
    }

    #[test]
    fn a_rename_that_is_refused_with_any_code_moves_the_old_file_aside() {
        use Observation::{Absent, Done};
        for code in [Code::NoSuchFile, Code::Denied, Code::Unsupported, Code::Failure] {
            let refusal = Refusal { code, message: String::new() };
            let old = || file(3, Some(false));
            let mut seen = vec![old(), Done, old(), Done, refused(code), refused(code), old()];
            let vanished = Stage::Failed(Failure::Vanished);
            check(false, &RULES, &[&seen[..], &[Absent]].concat(), &vanished);
            seen.push(file(7, Some(true)));
            check(false, &RULES, &seen, &Stage::MoveAside(refusal.clone()));
            seen.extend([Done, Done, Done]);
            check(false, &RULES, &seen, &Stage::LookAfter);
            // The file is locked for a while: the old one does not wait aside.
            seen.truncate(9);
            seen.push(refused(code));
            check(false, &RULES, &seen, &Stage::PutBack(refusal.clone()));
            seen.push(Done);
            check(false, &RULES, &seen, &Stage::Wait(refusal.clone()));
            seen.push(Done);
            check(false, &RULES, &seen, &Stage::Rename { posix: true });
            seen.truncate(10);
            seen.push(refused(Code::Failure));
            check(false, &RULES, &seen, &Stage::Failed(Failure::OldFileAside(refusal.clone())));
            // Nothing is in the way.
            let seen = [Absent, Done, Absent, Done, refused(code), refused(code), Absent];
            let source = Stage::LookAtSource { refusal: refusal.clone(), is_taken: false };
            check(false, &RULES, &seen, &source);
            let mut gone = seen.to_vec();
            gone.push(Absent);
            check(false, &RULES, &gone, &Stage::Failed(Failure::Vanished));
            let mut there = seen.to_vec();
            there.push(file(7, Some(true)));
            let expected = if code == Code::Unsupported {
                Stage::Failed(Failure::Rename(refusal))
            } else {
                Stage::Wait(refusal)
            };
            check(false, &RULES, &there, &expected);
        }
    }

    #[test]
    fn a_lost_answer_is_settled_by_looking() {
        use Observation::{Absent, Done, Same};
        let taken = Rules { partner_takes_files: true, ..RULES };
        let unchecked = Rules { checks_size: false, ..RULES };
        let again = Stage::Withdraw { settled: Some(Settled::SentAgain) };
        let is_found = found(Some(true));
        let is_taken = Stage::Published {
            status: DeliveryStatus::Delivered,
            verified: None,
            settled: Some(Settled::Taken),
            seen: Some(false),
        };
        for (rules, seen, expected) in [
            (RULES, vec![file(7, Some(true))], Stage::LookAgain),
            (RULES, vec![file(7, Some(true)), Absent], Stage::Intend),
            // Half of it is under the temporary name: nobody could have renamed that.
            (RULES, vec![file(3, Some(true))], Stage::Withdraw { settled: None }),
            (RULES, vec![Absent], Stage::LookForPublished),
            (RULES, vec![Absent, file(7, Some(true))], is_found.clone()),
            (RULES, vec![Absent, file(7, Some(false))], again.clone()),
            (RULES, vec![Absent, file(7, None), Same(true)], is_found.clone()),
            (RULES, vec![Absent, file(7, None), Same(false)], again.clone()),
            (RULES, vec![Absent, file(7, None), refused(Code::Denied)], again.clone()),
            (RULES, vec![Absent, another(7), refused(Code::Denied)], is_found.clone()),
            (RULES, vec![file(7, Some(true)), file(7, Some(true))], is_found.clone()),
            (RULES, vec![Absent, file(3, None)], again.clone()),
            (RULES, vec![Absent, another(7)], Stage::ComparePublished { is_new: true }),
            (RULES, vec![Absent, another(3)], Stage::Failed(Failure::PublishedSize { found: 3 })),
            (unchecked, vec![Absent, another(3)], is_found.clone()),
            (RULES, vec![Absent, Absent], again.clone()),
            (RULES, vec![Absent, Absent, Done], Stage::LookBefore),
            (taken, vec![Absent, Absent], is_taken.clone()),
            (taken, vec![Absent, file(3, Some(false))], is_taken.clone()),
            (taken, vec![Absent, another(3)], is_taken),
            (RULES, vec![refused(Code::Denied)], Stage::RenameUnseen),
            (RULES, vec![refused(Code::Denied), Done], Stage::LookAfter),
            (RULES, vec![refused(Code::Denied), refused(Code::NoSuchFile)], found(None)),
        ] {
            check(true, &rules, &seen, &expected);
        }
    }

    #[test]
    fn another_size_under_the_final_name_is_told() {
        use Observation::{Absent, Done};
        let seen = [Absent, Done, Absent, Done, Done, file(3, None)];
        check(false, &RULES, &seen, &Stage::Failed(Failure::PublishedSize { found: 3 }));
        let unchecked = Rules { checks_size: false, ..RULES };
        check(false, &unchecked, &seen, &delivered(Some(true)));
    }

    /// The observations that the request of a stage can have.
    fn possible(stage: &Stage) -> Vec<Observation> {
        use Observation::{Absent, Done, NoTime, Same};
        let refusals = [Code::NoSuchFile, Code::Denied, Code::Unsupported, Code::Failure];
        let refusals = refusals.map(refused).to_vec();
        let kinds = [EntryKind::Directory, EntryKind::Link, EntryKind::Other].map(other);
        let files = [Some(true), Some(false), None];
        let files = files.iter().flat_map(|ours| [file(7, *ours), file(3, *ours), file(0, *ours)]);
        let files = files.chain([another(7), another(3)]);
        match stage {
            Stage::LookForTemporary
            | Stage::LookForPublished
            | Stage::LookBefore
            | Stage::LookAgain
            | Stage::LookAtTarget(_)
            | Stage::LookAtSource { .. }
            | Stage::LookAfter => {
                [vec![Absent], refusals, kinds.to_vec(), files.collect()].concat()
            }
            Stage::ComparePublished { .. } | Stage::CompareBefore { .. } => {
                [vec![Absent, Same(true), Same(false)], refusals].concat()
            }
            Stage::Withdraw { .. } | Stage::Send | Stage::Intend => vec![Done],
            Stage::Rename { .. }
            | Stage::RenameUnseen
            | Stage::MoveAside(_)
            | Stage::Replace
            | Stage::PutBack(_)
            | Stage::RemoveBackup => [vec![Done], refusals].concat(),
            Stage::Wait(_) => vec![Done, NoTime],
            Stage::Published { .. } | Stage::Failed(_) => Vec::new(),
        }
    }

    proptest! {
        /// Whatever a server answers: nothing is renamed before the intent is written, and what was
        /// moved aside is put back, replaced or named in the error.
        #[test]
        fn every_path_keeps_the_promises(
            choices in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
            has_intent in any::<bool>(),
            overwrite in prop::sample::select(
                vec![Overwrite::Replace, Overwrite::Fail, Overwrite::SkipIfSameSize]
            ),
            flags in any::<[bool; 5]>(),
        ) {
            let [is_direct, compares_content, posix_rename, partner_takes_files, checks_size] = flags;
            let rules = Rules {
                overwrite, is_direct, compares_content, posix_rename, partner_takes_files,
                checks_size, size_bytes: 7,
            };
            let mut stage = Stage::first(has_intent && !is_direct);
            let (mut intended, mut is_aside) = (has_intent, false);
            for choice in choices {
                let seen = possible(&stage);
                if seen.is_empty() {
                    break;
                }
                let seen = choice.get(&seen).clone();
                let is_done = seen == Observation::Done;
                match &stage {
                    Stage::Rename { .. } | Stage::RenameUnseen | Stage::Replace
                    | Stage::MoveAside(_) => prop_assert!(intended && !is_direct),
                    _ => {}
                }
                match &stage {
                    Stage::Intend => intended = true,
                    Stage::Withdraw { .. } => intended = false,
                    Stage::MoveAside(_) => is_aside = is_done,
                    Stage::PutBack(_) | Stage::Replace if is_done => is_aside = false,
                    _ => {}
                }
                if matches!(stage, Stage::MoveAside(_)) {
                    prop_assert!(overwrite != Overwrite::Fail);
                }
                stage = stage.next(seen, &rules);
            }
            if is_aside {
                let is_told = matches!(
                    stage,
                    Stage::Replace | Stage::PutBack(_) | Stage::Failed(Failure::OldFileAside(_))
                );
                prop_assert!(is_told, "{stage:?}");
            }
        }
    }
}
