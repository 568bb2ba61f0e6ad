//! What the benches read.

/// A result as Athena writes it: 12 columns of about 15 bytes, all quoted but NULL.
pub(crate) fn athena_result(size_bytes: usize) -> Vec<u8> {
    const COLUMNS: u64 = 12;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut result = Vec::with_capacity(size_bytes + 1024);
    for column in 0..COLUMNS {
        result.extend_from_slice(format!("\"column_{column}\"").as_bytes());
        result.push(if column + 1 < COLUMNS { b',' } else { b'\n' });
    }
    while result.len() < size_bytes {
        for column in 0..COLUMNS {
            push_value(&mut result, column, &mut random);
            result.push(if column + 1 < COLUMNS { b',' } else { b'\n' });
        }
    }
    result
}

fn push_value(result: &mut Vec<u8>, column: u64, random: &mut Random) {
    const WORDS: [&str; 8] =
        ["order", "invoice", "Köln", "customer", "支店", "north", "paid", "São Paulo"];
    const AWKWARD: [&str; 4] = ["say \"\"hi\"\"", "Smith, John", "line\nbreak", "a, \"\"b\"\"\nc"];
    let value = random.next();
    let text = match (value % 50, column) {
        (0, _) => return,
        (1, _) => String::new(),
        (2, _) => AWKWARD[(value >> 32) as usize % AWKWARD.len()].to_owned(),
        (_, 0 | 1) => format!("{}", value >> 20),
        (_, 2) => {
            format!("2026-{:02}-{:02} {:02}:00:00", value % 12 + 1, value % 28 + 1, value % 24)
        }
        (_, 3 | 4) => format!("{}.{:02}", value >> 48, value % 100),
        (_, 5) => format!("{}", value.is_multiple_of(2)),
        (_, 6 | 7) => WORDS[(value >> 32) as usize % WORDS.len()].to_owned(),
        _ => format!(
            "{} {}",
            WORDS[(value >> 16) as usize % WORDS.len()],
            WORDS[(value >> 40) as usize % WORDS.len()]
        ),
    };
    result.push(b'"');
    result.extend_from_slice(text.as_bytes());
    result.push(b'"');
}

/// The same numbers in every run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
