//! Names of members: safe to extract, and different from each other.

use std::{collections::HashMap, fmt};

/// The longest name that the format can keep: its length is a 16-bit field (4.4.10).
const NAME_BYTES_MAX: usize = u16::MAX as usize;

/// What stands for a character that may not be in a name, and for a name of which nothing is left.
const PLACEHOLDER: &str = "_";

/// A name is too long for an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "naming a member `{}…`: its name has {bytes} bytes, and {NAME_BYTES_MAX} are the most",
    start.escape_debug()
)]
pub struct NameTooLong {
    start: String,
    bytes: usize,
}

/// The name of a member: a relative path that stays below the directory it is extracted to.
///
/// 1 to 65,535 bytes of UTF-8, `/` between the segments (4.4.17); no segment is empty, `.` or
/// `..`, no backslash or control character is in it, and it does not begin with a drive such as
/// `C:`. Characters that only some systems refuse in a file name, such as `?`, stay: the program
/// that extracts knows its system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberName(String);

impl MemberName {
    /// The nearest safe name: what may not be in a name becomes `_`, segments that name nothing
    /// or a directory above are left out.
    ///
    /// # Errors
    ///
    /// The name is longer than 65,535 bytes.
    pub fn safe(text: &str) -> Result<Self, NameTooLong> {
        let allowed = |c: char| if c == '\\' || c.is_control() { '_' } else { c };
        let segments: Vec<&str> =
            text.split('/').filter(|segment| !matches!(*segment, "" | "." | "..")).collect();
        let mut name: String = segments.join("/").chars().map(allowed).collect();
        if name.is_empty() {
            PLACEHOLDER.clone_into(&mut name);
        }
        if let [drive, b':', ..] = name.as_bytes()
            && drive.is_ascii_alphabetic()
        {
            name.replace_range(1..2, PLACEHOLDER);
        }
        Self::checked(name)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn checked(name: String) -> Result<Self, NameTooLong> {
        if name.len() > NAME_BYTES_MAX {
            return Err(NameTooLong { start: name.chars().take(40).collect(), bytes: name.len() });
        }
        Ok(Self(name))
    }

    /// The same name with a number before its extension: `a.csv` becomes `a (2).csv`.
    fn numbered(&self, number: u64) -> Result<Self, NameTooLong> {
        let file_from = self.0.rfind('/').map_or(0, |slash| slash + 1);
        let extension_from = match self.0[file_from..].rfind('.') {
            None | Some(0) => self.0.len(),
            Some(dot) => file_from + dot,
        };
        let (stem, extension) = self.0.split_at(extension_from);
        Self::checked(format!("{stem} ({number}){extension}"))
    }

    /// Names with the same key are one file on Windows and macOS.
    fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names of an archive's members, each different from the others whatever its case.
///
/// A member and a directory may still have the same name, as `a` and `a/b` have: a store of
/// objects allows it and a file system does not.
#[derive(Debug, Default)]
pub struct Names {
    /// The last number tried for a name; 1 is the name without a number.
    taken: HashMap<String, u64>,
}

impl Names {
    /// Takes the name, or the first of `a (2).csv`, `a (3).csv` … that is free.
    ///
    /// # Errors
    ///
    /// The name with its number is longer than 65,535 bytes.
    pub fn unique(&mut self, name: MemberName) -> Result<MemberName, NameTooLong> {
        let key = name.key();
        let Some(mut number) = self.taken.get(&key).copied() else {
            self.taken.insert(key, 1);
            return Ok(name);
        };
        loop {
            number += 1;
            let numbered = name.numbered(number)?;
            let numbered_key = numbered.key();
            if !self.taken.contains_key(&numbered_key) {
                self.taken.insert(key, number);
                self.taken.insert(numbered_key, 1);
                return Ok(numbered);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_safe(text: &str, expected: &str) {
        assert_eq!(MemberName::safe(text).unwrap().as_str(), expected, "{text:?}");
    }

    #[test]
    fn a_safe_name_stays_below_the_directory_it_is_extracted_to() {
        for good in ["a", "daily/users.csv", "Größe ..x", "ab:c", "12:30.csv", "c", "...", "a?*"]
        {
            check_safe(good, good);
        }
        check_safe("/etc/passwd", "etc/passwd");
        check_safe("../../a/./b//c/..", "a/b/c");
        check_safe("C:\\Windows\\x", "C__Windows_x");
        check_safe("/c:/x", "c_/x");
        check_safe("a\nb\u{0}\u{7f}", "a_b__");
        for nothing in ["", "/", "..", "./../"] {
            check_safe(nothing, "_");
        }
    }

    #[track_caller]
    fn check_unique(names: &[&str], expected: &[&str]) {
        let mut taken = Names::default();
        let unique: Vec<_> = names
            .iter()
            .map(|name| taken.unique(MemberName::safe(name).unwrap()).unwrap().to_string())
            .collect();
        assert_eq!(unique, expected);
    }

    #[test]
    fn a_name_that_is_taken_in_any_case_gets_a_number_before_its_extension() {
        check_unique(&["a.csv", "A.csv", "a.CSV"], &["a.csv", "A (2).csv", "a (3).CSV"]);
        check_unique(&["a (2).csv", "a.csv", "a.csv"], &["a (2).csv", "a.csv", "a (3).csv"]);
        check_unique(&["d.1/a", "d.1/a", "e/a"], &["d.1/a", "d.1/a (2)", "e/a"]);
        check_unique(
            &[".env", ".env", "Ä.csv", "ä.csv"],
            &[".env", ".env (2)", "Ä.csv", "ä (2).csv"],
        );
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error_with_both_numbers() {
        let longest = "ä".repeat(32_767) + "x";
        let name = MemberName::safe(&longest).unwrap();
        assert_eq!(name.as_str(), longest);
        let mut names = Names::default();
        names.unique(name.clone()).unwrap();
        let error = names.unique(name).unwrap_err();
        let start = "ä".repeat(40);
        assert_eq!(
            error.to_string(),
            format!("naming a member `{start}…`: its name has 65539 bytes, and 65535 are the most")
        );
        assert_eq!(MemberName::safe(&(longest + "x")).unwrap_err().bytes, 65_536);
    }

    proptest! {
        #[test]
        fn a_safe_name_is_safe_already(text in r"([a-cA-C:\\.]|\PC|\pC|/){0,12}") {
            let name = MemberName::safe(&text).unwrap();
            prop_assert_eq!(&MemberName::safe(name.as_str()).unwrap(), &name);
            prop_assert!(!name.as_str().contains('\\') && !name.as_str().contains(char::is_control));
            prop_assert!(name.as_str().split('/').all(|segment| !matches!(segment, "" | "." | "..")));
        }

        #[test]
        fn no_two_names_are_the_same(texts in prop::collection::vec(r"[aA]( \([23]\)){0,2}(\.c)?", 0..30)) {
            let mut names = Names::default();
            let keys: HashSet<String> = texts
                .iter()
                .map(|text| names.unique(MemberName::safe(text).unwrap()).unwrap().key())
                .collect();
            prop_assert_eq!(keys.len(), texts.len());
        }
    }
}
