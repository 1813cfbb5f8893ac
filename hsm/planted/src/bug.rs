//! Which bugs there are, and which of them are planted in the core that is running.

use std::cell::Cell;

include!(concat!(env!("OUT_DIR"), "/bugs.rs"));

impl Bug {
    /// The bug of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| format!("{bug:?}") == name)
    }
}

/// A set of bugs.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Bugs([u128; 3]);

const _: () = assert!(Bug::ALL.len() <= 384, "a bit for each");

impl Bugs {
    fn has(self, bug: Bug) -> bool {
        let bug = bug as usize;
        (self.0[bug / 128] >> (bug % 128)) & 1 == 1
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == [0; 3]
    }

    /// Runs the copy with these planted, and none after it.
    pub(crate) fn planted<T>(self, run: impl FnOnce() -> T) -> T {
        struct Before(Bugs);
        impl Drop for Before {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }
        // Put back even if the core panics, which a planted bug may bring about.
        let _before = Before(PLANTED.replace(self));
        run()
    }
}

impl FromIterator<Bug> for Bugs {
    fn from_iter<I: IntoIterator<Item = Bug>>(bugs: I) -> Self {
        let mut set = Self::default();
        for bug in bugs {
            set.0[bug as usize / 128] |= 1 << (bug as usize % 128);
        }
        set
    }
}

thread_local! {
    /// Those of the core that this thread is running, for cores with other bugs may run beside it.
    static PLANTED: Cell<Bugs> = const { Cell::new(Bugs([0; 3])) };
}

pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get().has(bug)
}
