//! What was told of damage of a group's stored tree, and where that is: told by who serves from it, and taken back when it was
//! read again and is well.

use std::collections::BTreeMap;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_replica::stored::TreeDamage;

/// In how many places damage is remembered.
const MAX_PLACES: usize = 64;

/// What was told, by place. `None` is anywhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Damage(BTreeMap<Option<Prefix>, String>);

impl Damage {
    pub(super) fn tell(&mut self, damage: &TreeDamage) {
        let place = place_of(damage);
        let has_room = self.0.len() < MAX_PLACES || self.0.contains_key(&place);
        self.0.insert(place.filter(|_| has_room), damage.to_string());
    }

    /// Nothing is damaged.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// One thing that was told.
    pub(super) fn text(&self) -> Option<String> {
        self.0.values().next().cloned()
    }

    /// A record in each place: who looks there looks at the place.
    pub(super) fn records(&self) -> impl Iterator<Item = RecordId> {
        self.0.keys().flatten().map(|below| RecordId(*below.bits()))
    }

    /// Takes back what was told by then, where it is well now. What was told meanwhile has not been looked at.
    pub(super) fn take_back(&mut self, told: &Self, is_well: impl Fn(Option<&Prefix>) -> bool) {
        self.0.retain(|place, what| told.0.get(place) != Some(what) || !is_well(place.as_ref()));
    }
}

/// Where it is, as far as that shows.
fn place_of(damage: &TreeDamage) -> Option<Prefix> {
    match damage {
        TreeDamage::NoPage(prefix) | TreeDamage::Page(prefix, _) | TreeDamage::Foreign(prefix) => {
            Some(*prefix)
        }
        TreeDamage::NoLeaf(id) | TreeDamage::Leaf(id) => {
            Prefix::of(id, u16::try_from(RecordId::LEN * 8).ok()?)
        }
        TreeDamage::Snapshot | TreeDamage::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_told_before_and_is_well_is_taken_back() {
        let [a, b] = [1, 2].map(|first| RecordId([first; 32]));
        let mut damage = Damage::default();
        damage.tell(&TreeDamage::NoLeaf(a));
        let told = damage.clone();
        damage.tell(&TreeDamage::Leaf(b));
        damage.tell(&TreeDamage::Object("it is gone".into()));
        assert_eq!(damage.records().collect::<Vec<_>>(), [a, b]);
        damage.take_back(&told, |below| below.is_some_and(|below| below.contains(&b)));
        assert_eq!(damage.0.len(), 3, "what is well was told meanwhile");
        damage.take_back(&told, |_| true);
        assert_eq!(damage.records().collect::<Vec<_>>(), [b]);
        let told = damage.clone();
        damage.take_back(&told, |below| below.is_none());
        assert!(damage.text().is_some_and(|text| text.contains(&b.to_string())));
        damage.take_back(&told, |_| true);
        assert!(damage.is_none());
    }

    #[test]
    fn however_much_is_told_it_stays_small_and_nothing_counts_as_well() {
        let mut damage = Damage::default();
        for at in 0..=255 {
            damage.tell(&TreeDamage::NoLeaf(RecordId([at; 32])));
        }
        assert_eq!(damage.0.len(), MAX_PLACES + 1);
        let told = damage.clone();
        damage.take_back(&told, |below| below.is_some());
        assert!(!damage.is_none(), "some places are not known");
    }
}
