//! Digests of bodies: the MD5 behind an entity tag and the checksums a client may ask for.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use serde::{Deserialize, Serialize};

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME, what S3 keeps when the client names none.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The name in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header that carries a value, also the name of the trailer.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The algorithm with this name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm whose values travel under this header.
    pub(crate) fn by_header(header: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(header))
    }

    /// What a multipart object's checksum is made of when the client does not say.
    pub(crate) fn default_coverage(self) -> Coverage {
        match self {
            Self::Crc64Nvme => Coverage::FullObject,
            Self::Crc32 | Self::Crc32c | Self::Sha1 | Self::Sha256 => Coverage::Composite,
        }
    }

    /// Whether S3 offers this coverage for a multipart object.
    pub(crate) fn allows(self, coverage: Coverage) -> bool {
        match (self, coverage) {
            (Self::Crc32 | Self::Crc32c, _)
            | (Self::Crc64Nvme, Coverage::FullObject)
            | (Self::Sha1 | Self::Sha256, Coverage::Composite) => true,
            (Self::Crc64Nvme, Coverage::Composite)
            | (Self::Sha1 | Self::Sha256, Coverage::FullObject) => false,
        }
    }
}

/// What a checksum was computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Coverage {
    /// The bytes of the object.
    FullObject,
    /// The checksums of its parts, in order.
    Composite,
}

/// A checksum as it is kept with an object and told to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    /// How it was computed.
    pub(crate) algorithm: Algorithm,
    /// Over what.
    pub(crate) coverage: Coverage,
    /// Base64, for a composite one followed by `-` and the number of parts.
    pub(crate) value: String,
}

impl Checksum {
    /// The composite checksum of parts with these (base64) checksums.
    pub(crate) fn of_parts<'a>(
        algorithm: Algorithm,
        parts: impl ExactSizeIterator<Item = &'a str>,
    ) -> Self {
        let count = parts.len();
        let mut hasher = Hasher::new(algorithm);
        for part in parts {
            // A part's checksum is written by `Digests`, so it always decodes.
            hasher.update(&STANDARD.decode(part).unwrap_or_default());
        }
        let value = format!("{}-{count}", hasher.finish());
        Self { algorithm, coverage: Coverage::Composite, value }
    }
}

/// Reads a body once and digests it.
pub(crate) struct Digests {
    md5: Option<Md5>,
    checksum: Option<(Algorithm, Hasher)>,
}

impl Digests {
    /// MD5, and the checksum if there is to be one.
    pub(crate) fn new(algorithm: Option<Algorithm>) -> Self {
        Self { md5: Some(Md5::new()), checksum: algorithm.map(|a| (a, Hasher::new(a))) }
    }

    /// The checksum alone, where the entity tag is known: MD5 is by far the slower of the two.
    pub(crate) fn checksum_only(algorithm: Algorithm) -> Self {
        Self { md5: None, checksum: Some((algorithm, Hasher::new(algorithm))) }
    }

    /// The next bytes of the body.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some((_, hasher)) = &mut self.checksum {
            hasher.update(bytes);
        }
    }

    /// The digests of all bytes.
    pub(crate) fn finish(self) -> Digest {
        Digest {
            md5: self.md5.map(Md5::finalize),
            checksum: self.checksum.map(|(algorithm, hasher)| Checksum {
                algorithm,
                coverage: Coverage::FullObject,
                value: hasher.finish(),
            }),
        }
    }
}

/// The digests of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    md5: Option<[u8; 16]>,
    /// The checksum, if there was to be one.
    pub(crate) checksum: Option<Checksum>,
}

impl Digest {
    /// The entity tag of an object that was written in one piece.
    pub(crate) fn etag(&self) -> Option<String> {
        self.md5.map(|md5| hex(&md5))
    }

    /// The MD5 as `Content-MD5` carries it.
    pub(crate) fn content_md5(&self) -> Option<String> {
        self.md5.map(|md5| STANDARD.encode(md5))
    }
}

/// The entity tag of a multipart object: the MD5 of its parts' MD5s, and how many there are.
pub(crate) fn etag_of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = etags.len();
    let mut md5 = Md5::new();
    for etag in etags {
        md5.update(&unhex(etag));
    }
    format!("{}-{count}", hex(&md5.finalize()))
}

/// An entity tag for bytes that were not read: a digest of where they came from. It has the form
/// of an MD5, as the tag of a part must.
pub(crate) fn etag_of_origin(origin: &str) -> String {
    hex(&Md5::checksum(origin.as_bytes()))
}

/// An entity tag as under SSE-KMS: another one each time, and no MD5 of anything.
pub(crate) fn random_etag() -> String {
    hex(uuid::Uuid::new_v4().as_bytes())
}

/// A file name for any key.
pub(crate) fn file_name_for(key: &str) -> String {
    hex(&Sha256::checksum(key.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks_exact(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(Crc32::new()),
            Algorithm::Crc32c => Self::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Crc32c(hasher) => hasher.update(bytes),
            Self::Crc64Nvme(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Crc32(hasher) => STANDARD.encode(hasher.finalize()),
            Self::Crc32c(hasher) => STANDARD.encode(hasher.finalize()),
            Self::Crc64Nvme(hasher) => STANDARD.encode(hasher.finalize()),
            Self::Sha1(hasher) => STANDARD.encode(hasher.finalize()),
            Self::Sha256(hasher) => STANDARD.encode(hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(algorithm: Algorithm, of_123456789: &str) {
        let mut digests = Digests::new(Some(algorithm));
        digests.update(b"12345");
        digests.update(b"6789");
        let digest = digests.finish();
        assert_eq!(digest.etag().as_deref(), Some("25f9e794323b453885f5181f1b624d0b"));
        assert_eq!(digest.content_md5().as_deref(), Some("JfnnlDI7RTiF9RgfG2JNCw=="));
        let checksum = digest.checksum.expect("it was asked for");
        assert_eq!(checksum.value, of_123456789, "{}", algorithm.name());
        assert_eq!(Algorithm::by_name(algorithm.name()), Some(algorithm));
        assert_eq!(Algorithm::by_header(algorithm.header()), Some(algorithm));
    }

    /// The check values of the catalogue of parametrised CRC algorithms, and of FIPS 180.
    #[test]
    fn digests_have_their_published_check_values() {
        check(Algorithm::Crc32, "y/Q5Jg==");
        check(Algorithm::Crc32c, "4waSgw==");
        check(Algorithm::Crc64Nvme, "rosUhgp5mIg=");
        check(Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE=");
        check(Algorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");
    }

    #[test]
    fn the_tag_of_a_multipart_object_is_the_md5_of_its_parts_md5s() {
        // MD5 of the 32 bytes MD5("hello") MD5("world").
        let parts = ["5d41402abc4b2a76b9719d911017c592", "7d793037a0760186574b0282f2f435e7"];
        let mut joined = unhex(parts[0]);
        joined.extend(unhex(parts[1]));
        assert_eq!(joined.len(), 32);
        assert_eq!(etag_of_parts(parts.into_iter()), format!("{}-2", hex(&Md5::checksum(&joined))));
    }

    #[test]
    fn a_composite_checksum_is_that_of_the_parts_checksums() {
        let mut joined = Crc32::checksum(b"hello").to_vec();
        joined.extend(Crc32::checksum(b"world"));
        let parts =
            [Crc32::checksum(b"hello"), Crc32::checksum(b"world")].map(|c| STANDARD.encode(c));
        let checksum = Checksum::of_parts(Algorithm::Crc32, parts.iter().map(String::as_str));
        assert_eq!(checksum.value, format!("{}-2", STANDARD.encode(Crc32::checksum(&joined))));
    }
}
