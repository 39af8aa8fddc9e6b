//! For how long a series has been out of its band.

use super::DetectorError;
use super::band::Side;
use super::state::{Reader, Writer};

/// Counts windows outside the band, on one side. A window inside takes one off, so that a lasting
/// change with a quiet window in between is still noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Run {
    length: u32,
    above: bool,
}

/// What a window did to a [`Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Inside, and no run is left.
    Quiet,
    /// Inside; a run before it may go on.
    Easing,
    /// First window outside, or the first on the other side.
    Began,
    /// A further window outside.
    Grew,
}

impl Run {
    /// Takes in the next window.
    pub fn step(&mut self, side: Side) -> Step {
        let above = match side {
            Side::Inside => {
                self.length = self.length.saturating_sub(1);
                return if self.length == 0 { Step::Quiet } else { Step::Easing };
            }
            Side::Above => true,
            Side::Below => false,
        };
        if self.length == 0 || self.above != above {
            *self = Run { length: 1, above };
            Step::Began
        } else {
            self.length = self.length.saturating_add(1);
            Step::Grew
        }
    }

    /// Windows outside, less those inside since.
    pub fn length(&self) -> u32 {
        self.length
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(u64::from(self.length));
        out.u8(u8::from(self.above));
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Run { length: input.u32()?, above: input.u8()? != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_grows_eases_and_turns() {
        let mut run = Run::default();
        assert_eq!(run.step(Side::Inside), Step::Quiet);
        assert_eq!(run.step(Side::Above), Step::Began);
        assert_eq!(run.step(Side::Above), Step::Grew);
        assert_eq!(run.step(Side::Inside), Step::Easing);
        assert_eq!(run.step(Side::Above), Step::Grew);
        assert_eq!(run.length(), 2);
        assert_eq!(run.step(Side::Below), Step::Began);
        assert_eq!(run.length(), 1);
        assert_eq!(run.step(Side::Inside), Step::Quiet);
    }
}
