//! The fonts of pictures: embedded, because a container has none.

use std::sync::LazyLock;

use plotters::style::{FontStyle, register_font};

use super::PlotError;

/// The family that drawings ask for. In an SVG it is the reader's own sans serif; the embedded
/// font measures its text, and draws it in a PNG.
pub const FAMILY: &str = "sans-serif";

static REGISTERED: LazyLock<bool> = LazyLock::new(|| {
    register_font(FAMILY, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok()
        && register_font(FAMILY, FontStyle::Bold, epaint_default_fonts::UBUNTU_LIGHT).is_ok()
});

/// Makes the fonts known, once a process.
pub fn ready() -> Result<(), PlotError> {
    if *REGISTERED {
        Ok(())
    } else {
        Err(PlotError::Draw("the embedded font cannot be read".to_owned()))
    }
}
