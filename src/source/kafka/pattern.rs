//! Topic patterns, as librdkafka reads them.

use std::ffi::{CString, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use super::KafkaError;

/// A pattern of topic names: a POSIX extended regular expression that begins with `^`.
///
/// librdkafka compiles patterns with the C library's `regcomp(REG_EXTENDED | REG_NOSUB)`; so does
/// this, for a bounded run to count the same topics as the subscription.
pub struct TopicPattern(Box<libc::regex_t>);

impl TopicPattern {
    /// Compiles a pattern.
    pub fn new(pattern: &str) -> Result<Self, KafkaError> {
        let refuse = |reason: String| KafkaError::Pattern { pattern: pattern.to_owned(), reason };
        let text = CString::new(pattern).map_err(|_| refuse("it holds a NUL".to_owned()))?;
        let mut compiled = Box::new(MaybeUninit::<libc::regex_t>::zeroed());
        // SAFETY: both pointers are valid for the call.
        let code = unsafe {
            libc::regcomp(
                compiled.as_mut_ptr(),
                text.as_ptr(),
                libc::REG_EXTENDED | libc::REG_NOSUB,
            )
        };
        if code != 0 {
            return Err(refuse(reason(code, compiled.as_ptr())));
        }
        // SAFETY: `regcomp` succeeded, so it is initialised. It stays in its box.
        Ok(Self(unsafe { Box::from_raw(Box::into_raw(compiled).cast()) }))
    }

    /// Whether a topic's name matches.
    pub fn matches(&self, topic: &str) -> bool {
        let Ok(topic) = CString::new(topic) else { return false };
        // SAFETY: compiled by `new`; no matches are asked for.
        unsafe { libc::regexec(&*self.0, topic.as_ptr(), 0, ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for TopicPattern {
    fn drop(&mut self) {
        // SAFETY: compiled by `new` and freed once.
        unsafe { libc::regfree(&mut *self.0) }
    }
}

fn reason(code: c_int, compiled: *const libc::regex_t) -> String {
    let mut text = [0u8; 128];
    // SAFETY: writes at most the buffer's length, with the NUL; `compiled` is what failed.
    let len = unsafe { libc::regerror(code, compiled, text.as_mut_ptr().cast(), text.len()) };
    let end = len.saturating_sub(1).min(text.len());
    String::from_utf8_lossy(&text[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_posix_extended_expressions() {
        let pattern = TopicPattern::new("^(web|app)-logs[0-9]+$").unwrap();
        assert!(pattern.matches("web-logs1") && pattern.matches("app-logs22"));
        assert!(!pattern.matches("web-logs") && !pattern.matches("x-web-logs1"));
        assert!(TopicPattern::new("^web").unwrap().matches("web-anything"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_in_words() {
        let error = TopicPattern::new("^(web").err().unwrap().to_string();
        assert!(error.contains("^(web") && error.contains("Unmatched"), "{error}");
        assert!(TopicPattern::new("^a\0b").is_err());
    }
}
