//! Attacks on who holds the seed and who is a member.

use crate::hostile::hunt::Hunt;
use crate::hostile::parts::MEMBERS;
use crate::hostile::step::{Approval, HostsRealm, Invitation, Members, Step};

/// The HSM without a realm.
const OUTSIDER: u8 = MEMBERS as u8;

pub(super) fn carry_off_the_seed(hunt: &mut Hunt) {
    let at = hunt.any_hsm();
    for (signers, approval) in [
        (0b001, Approval::HostsKey),
        (0b001, Approval::Twice),
        (0b010, Approval::Twice),
        (0b111, Approval::HostsKey),
        (0b110, Approval::OtherExporter),
        (0b111, Approval::OtherRealm),
        (0b111, Approval::Strangers),
        (0b110, Approval::Proper),
        (0b110, Approval::OldNonce),
    ] {
        hunt.go(Step::Export { at, to: OUTSIDER, signers, approval });
    }
}

/// An approval that was never used, shown to an HSM that has restarted since.
pub(super) fn carry_off_the_seed_after_a_restart(hunt: &mut Hunt) {
    let at = hunt.any_hsm();
    hunt.go(Step::Export { at, to: OUTSIDER, signers: 0b001, approval: Approval::Proper });
    hunt.go(Step::Restart { at, cut_after: None });
    hunt.go(Step::Export { at, to: OUTSIDER, signers: 0b110, approval: Approval::OldNonce });
}

/// The outsider enters the realm with all approvals, or enters a realm of the host's; others are sent what is not for
/// them.
pub(super) fn enrol_another_hsm(hunt: &mut Hunt) {
    let (at, other) = (hunt.any_hsm(), hunt.any_hsm());
    hunt.go(Step::JoinRealm { at: other, sealed: None, hosts: Some(HostsRealm::OwnPolicy) });
    let sealed = hunt.go(Step::Export { at, to: OUTSIDER, signers: 0b110, approval: Approval::Proper });
    let for_other = hunt.go(Step::Export { at, to: other, signers: 0b110, approval: Approval::Proper });
    hunt.go(Step::JoinRealm { at: OUTSIDER, sealed: Some(for_other), hosts: None });
    hunt.go(Step::JoinRealm { at: other, sealed: Some(for_other), hosts: None });
    if hunt.any_point() == 0 {
        hunt.go(Step::JoinRealm { at: OUTSIDER, sealed: None, hosts: Some(HostsRealm::OwnPolicy) });
    }
    if hunt.any_point() == 0 {
        let after = u32::from(hunt.any_point()) * 8;
        hunt.go(Step::CutPower { at: OUTSIDER, after });
    }
    for _ in 0..2 {
        hunt.go(Step::JoinRealm { at: OUTSIDER, sealed: Some(sealed), hosts: None });
    }
    hunt.go(Step::Restart { at: OUTSIDER, cut_after: None });
}

/// Passes a realm of the host's own off on the outsider, and the true one on approvals of something else.
pub(super) fn pass_off_another_realm(hunt: &mut Hunt) {
    let at = hunt.any_hsm();
    let export = |approval| Step::Export { at, to: OUTSIDER, signers: 0b110, approval };
    let join = |sealed, hosts| Step::JoinRealm { at: OUTSIDER, sealed, hosts };
    let approved = hunt.go(export(Approval::Proper));
    hunt.go(join(Some(approved), Some(HostsRealm::BehindApproval)));
    for hosts in [HostsRealm::HonestPolicy, HostsRealm::OneTwice, HostsRealm::Newer] {
        hunt.go(join(None, Some(hosts)));
    }
    let of_another = hunt.go(export(Approval::OtherBuild));
    hunt.go(join(Some(of_another), None));
    hunt.go(export(Approval::SmallOrder));
    let late = hunt.go(export(Approval::Proper));
    hunt.go(Step::Restart { at: OUTSIDER, cut_after: None });
    hunt.go(join(Some(late), None));
}

pub(super) fn make_and_join_groups(hunt: &mut Hunt) {
    for (at, group) in [(3, 0), (0, 1)] {
        for invitation in [
            Invitation::Alone,
            Invitation::Proper,
            Invitation::HostsMac,
            Invitation::OtherGenesis,
            Invitation::OtherGroup,
        ] {
            hunt.go(Step::Join { at, group, invitation });
        }
    }
    let at = hunt.any_hsm();
    for members in [Members::Repeated, Members::Invented, Members::WithoutMaker, Members::Proper] {
        hunt.go(Step::NewGroup { at, of: 1 << at | 1 << ((at + 1) % 4), members });
    }
    let made = u8::try_from(hunt.world.groups.len().saturating_sub(1)).unwrap_or(0);
    hunt.all_join(made);
    hunt.lead(at, made);
    hunt.process(at, made, &[]);
}

/// An HSM that joined a group a second time would have forgotten what it captured.
pub(super) fn join_again(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    for at in hunt.members(s.group) {
        hunt.go(Step::Join { at, group: s.group, invitation: Invitation::Proper });
    }
    let other = hunt.other(&s);
    hunt.go(Step::Lead { at: other, group: s.group, entry: None });
}

/// Every HSM makes a group of its own, and leads it.
pub(super) fn make_groups_everywhere(hunt: &mut Hunt) {
    for at in 0..=OUTSIDER {
        hunt.go(Step::NewGroup { at, of: 1 << at, members: Members::Proper });
        let made = u8::try_from(hunt.world.groups.len().saturating_sub(1)).unwrap_or(0);
        if hunt.members(made) == [at] {
            hunt.lead(at, made);
            let entry = hunt.process(at, made, &[]);
            hunt.settle(at, made, entry, &[at]);
        }
    }
}
