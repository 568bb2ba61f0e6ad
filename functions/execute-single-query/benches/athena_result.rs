//! What the benches read.

use tpchgen::generators::{Order, OrderGenerator};

/// Some 230 bytes of result for each order, and 1.5 million orders for each 1 of the scale.
const SCALE: f64 = 2.0;

const COLUMNS: [&str; 12] = [
    "reference",
    "o_orderkey",
    "o_custkey",
    "o_orderstatus",
    "o_totalprice",
    "o_orderdate",
    "o_orderpriority",
    "o_clerk",
    "o_shippriority",
    "city",
    "o_comment",
    "updated_at",
];
const CITIES: [&str; 8] =
    ["Köln", "São Paulo", "大阪", "London", "Île-de-France", "Łódź", "Αθήνα", "Reykjavík"];

/// A result as Athena writes it: TPC-H's orders, each with a reference number, a city and a time, all
/// quoted but NULL. One value in fifty is NULL, one is empty, and one holds a quote, a comma or a line
/// break.
pub(crate) fn athena_result(size_bytes: usize) -> Vec<u8> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut result = Vec::with_capacity(size_bytes + 1024);
    push_record(&mut result, &COLUMNS.map(|name| format!("\"{name}\"")));
    let mut orders = OrderGenerator::new(SCALE, 1, 1).iter();
    while result.len() < size_bytes {
        let order = orders.next().expect("the scale is large enough");
        let values = values(&order, &mut random);
        push_record(&mut result, &values.map(|value| as_athena(&value, &mut random)));
    }
    result
}

fn values(order: &Order<'_>, random: &mut Random) -> [String; COLUMNS.len()] {
    let time = random.below(24 * 60 * 60);
    [
        format!("{:05}-{:07}", random.below(100_000), random.below(10_000_000)),
        order.o_orderkey.to_string(),
        order.o_custkey.to_string(),
        order.o_orderstatus.to_string(),
        order.o_totalprice.to_string(),
        order.o_orderdate.to_string(),
        order.o_orderpriority.to_owned(),
        order.o_clerk.to_string(),
        order.o_shippriority.to_string(),
        CITIES[random.below(CITIES.len())].to_owned(),
        order.o_comment.to_owned(),
        format!(
            "{} {:02}:{:02}:{:02}.000",
            order.o_orderdate,
            time / 3600,
            time / 60 % 60,
            time % 60
        ),
    ]
}

fn as_athena(value: &str, random: &mut Random) -> String {
    match random.below(150) {
        0..3 => String::new(),
        3..6 => "\"\"".to_owned(),
        6 => format!("\"say \"\"{value}\"\"\""),
        7 => format!("\"{value}, again\""),
        8 => format!("\"{value}\nand more\""),
        _ => format!("\"{value}\""),
    }
}

fn push_record(result: &mut Vec<u8>, values: &[String; COLUMNS.len()]) {
    result.extend_from_slice(values.join(",").as_bytes());
    result.push(b'\n');
}

/// The same numbers in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}
