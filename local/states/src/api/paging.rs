//! Pages of lists that only grow at one end.

use super::error::ApiError;

/// AWS: a page has 100 entries unless asked for less or more.
const PAGE_DEFAULT: usize = 100;
/// AWS: a page has 1000 entries at most.
const PAGE_MAX: usize = 1000;

/// One page that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Page {
    pub(super) size: usize,
    /// The place in the list that the token names.
    pub(super) place: Option<usize>,
}

impl Page {
    /// `max_results` of 0 means the default, as on AWS.
    pub(super) fn of(max_results: Option<u32>, token: Option<&str>) -> Result<Self, ApiError> {
        let size = match max_results {
            None | Some(0) => PAGE_DEFAULT,
            Some(size) => usize::try_from(size).unwrap_or(PAGE_MAX),
        };
        if size > PAGE_MAX {
            let message = format!(
                "1 validation error detected: Value '{size}' at 'maxResults' failed to satisfy \
                 constraint: Member must have value less than or equal to {PAGE_MAX}"
            );
            return Err(ApiError::validation(message));
        }
        let place = token
            .map(str::parse)
            .transpose()
            .map_err(|_| ApiError::new("InvalidToken", "Invalid Token: 'Invalid token'"))?;
        Ok(Self { size, place })
    }

    /// The places of the page in a list that is read from its start, and the next token.
    pub(super) fn forward(self, total: usize) -> (std::ops::Range<usize>, Option<String>) {
        let start = self.place.unwrap_or(0).min(total);
        let end = (start + self.size).min(total);
        (start..end, (end < total).then(|| end.to_string()))
    }

    /// The places of the page in a list that is read from its end, and the next token.
    pub(super) fn backward(self, total: usize) -> (std::ops::Range<usize>, Option<String>) {
        let end = self.place.unwrap_or(total).min(total);
        let start = end.saturating_sub(self.size);
        (start..end, (start > 0).then(|| start.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_a_list_once_from_either_end() {
        let page = |place| Page { size: 2, place };
        assert_eq!(page(None).forward(5), (0..2, Some("2".into())));
        assert_eq!(page(Some(4)).forward(5), (4..5, None));
        assert_eq!(page(None).backward(5), (3..5, Some("3".into())));
        assert_eq!(page(Some(1)).backward(5), (0..1, None));
        // The list grew between the pages: nothing comes twice.
        assert_eq!(page(Some(3)).backward(9), (1..3, Some("1".into())));
    }

    #[test]
    fn a_token_that_is_none_of_ours_is_refused() {
        let error = Page::of(None, Some("x")).map_err(|error| error.kind);
        assert_eq!(error, Err("InvalidToken"));
    }
}
