//! What callers are about in one life of the process. With one mix of everything some states are so rare that
//! thousands of seeds do not come to them.

use super::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Everything at once.
    Mixed,
    /// Little comes and most goes, so that segments die one after the other, with no new one in between.
    Draining,
    /// Of some messages one destination fails, whose large report waits for a file that takes long, and another
    /// one is tried again and again, while everything around them comes and goes.
    Reporting,
}

/// Chances in per cent, each with those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callers {
    pub(super) append: u64,
    pub(super) take: u64,
    pub(super) settle: u64,
    pub(super) offer: u64,
    pub(super) change: u64,
    pub(super) hold: u64,
}

/// Likewise, of what happens next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub(super) caller: u64,
    pub(super) task: u64,
    pub(super) pass: u64,
}

impl Mood {
    pub(super) fn choose(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 | 1 => Self::Mixed,
            2 => Self::Draining,
            _ => Self::Reporting,
        }
    }

    pub(super) const fn callers(self) -> Callers {
        let [append, take, settle, offer, change, hold] = match self {
            Self::Mixed => [28, 56, 82, 86, 91, 96],
            Self::Draining => [1, 48, 95, 96, 98, 99],
            Self::Reporting => [30, 64, 98, 98, 98, 98],
        };
        Callers {
            append,
            take,
            settle,
            offer,
            change,
            hold,
        }
    }

    pub(super) const fn steps(self) -> Steps {
        let [caller, task, pass] = match self {
            Self::Mixed => [50, 65, 70],
            // Removals wait for each other.
            Self::Draining => [55, 57, 60],
            Self::Reporting => [50, 65, 75],
        };
        Steps { caller, task, pass }
    }

    /// Whether a message stays.
    const fn is_kept(self, number: u64) -> bool {
        matches!(self, Self::Reporting) && number.is_multiple_of(3)
    }

    /// Per cent of recipients that are delivered, and with the others those that are settled at all.
    pub(super) fn outcomes(self, number: u64, destination: &str) -> (u64, u64) {
        match self {
            Self::Mixed => (60, 80),
            Self::Draining => (95, 97),
            Self::Reporting if self.is_kept(number) && destination == "d0.example" => (0, 0),
            Self::Reporting if self.is_kept(number) => (0, 100),
            Self::Reporting => (100, 100),
        }
    }

    /// Per cent of settled work that has a report, and of reports that are large.
    pub(super) const fn reports(self, number: u64) -> (u64, u64) {
        match self {
            Self::Mixed => (40, 30),
            Self::Draining => (5, 30),
            Self::Reporting if self.is_kept(number) => (100, 100),
            Self::Reporting => (0, 0),
        }
    }

    /// Per cent of messages that are large.
    pub(super) const fn large(self) -> u64 {
        match self {
            Self::Reporting => 0,
            Self::Mixed | Self::Draining => 25,
        }
    }

    /// Per cent of lives in which the power is cut in the middle.
    pub(super) const fn cut(self) -> u64 {
        match self {
            Self::Draining => 25,
            Self::Mixed | Self::Reporting => 70,
        }
    }

    /// How much longer than others a life is.
    pub(super) const fn length(self) -> u64 {
        match self {
            Self::Reporting => 3,
            Self::Mixed | Self::Draining => 1,
        }
    }
}
