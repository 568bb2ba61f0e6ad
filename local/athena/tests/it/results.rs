//! Result objects, byte for byte, and the pages that are read from them.

use crate::endpoint::Endpoint;

async fn check(sql: &str, expected: &str) {
    let endpoint = Endpoint::start().await;
    assert_eq!(endpoint.run(sql).await.as_deref(), Ok(expected), "{sql}");
}

#[tokio::test]
async fn every_value_is_quoted_and_null_is_empty() {
    check(
        "SELECT 'a\"b,c' AS Odd, '' AS \"Empty One\", NULL AS nothing, 'x\ny' AS lines",
        "\"Odd\",\"Empty One\",\"nothing\",\"lines\"\n\"a\"\"b,c\",\"\",,\"x\ny\"\n",
    )
    .await;
}

#[tokio::test]
async fn columns_without_a_name_are_numbered_and_names_may_repeat() {
    check(
        "SELECT 1, 2 AS a, 3 AS A, 1 + 1, a FROM (SELECT 9 AS a)",
        "\"_col0\",\"a\",\"A\",\"_col3\",\"a\"\n\"1\",\"2\",\"3\",\"2\",\"9\"\n",
    )
    .await;
    check("SELECT * FROM (SELECT 1, 2)", "\"_col0\",\"_col1\"\n\"1\",\"2\"\n").await;
    check("SELECT x.*, 5 FROM (SELECT 1 AS b) x", "\"b\",\"_col1\"\n\"1\",\"5\"\n").await;
}

#[tokio::test]
async fn values_have_the_text_that_trino_gives_them() {
    let rows = [
        ("cast(1e10 as double)", "1.0E10"),
        ("1e-4", "1.0E-4"),
        ("cast(3.14 as double)", "3.14"),
        ("cast(1 as double)", "1.0"),
        ("1e7", "1.0E7"),
        ("12345.678e0", "12345.678"),
        ("cast('NaN' as double)", "NaN"),
        ("cast('-Infinity' as double)", "-Infinity"),
        ("cast(1.5 as decimal(10, 3))", "1.500"),
        ("true", "true"),
        ("date '2020-02-29'", "2020-02-29"),
        ("timestamp '2020-01-01 00:00:00'", "2020-01-01 00:00:00.000"),
        ("timestamp '1969-12-31 23:59:59.5'", "1969-12-31 23:59:59.500"),
        ("array[1, NULL, 2]", "[1, null, 2]"),
        ("to_utf8('he')", "68 65"),
        ("cast(-5 as tinyint)", "-5"),
    ];
    for (expression, text) in rows {
        check(&format!("SELECT {expression} AS v"), &format!("\"v\"\n\"{text}\"\n")).await;
    }
}

#[tokio::test]
async fn an_empty_result_is_a_header_alone() {
    check("SELECT 1 AS a WHERE 1 = 2", "\"a\"\n").await;
}

#[tokio::test]
async fn catalog_statements_write_plain_lines() {
    let endpoint = Endpoint::start().await;
    endpoint.put("sales/Orders.csv", "id,name\n1,x\n");
    endpoint.put("sales/items/a.csv", "id\n1\n");
    for (sql, expected) in [
        ("SHOW DATABASES", "default\nsales\n"),
        ("SHOW TABLES IN sales", "items\norders\n"),
        ("show tables in sales 'ord*'", "orders\n"),
        (
            "DESCRIBE sales.orders",
            "id                  \tbigint              \t                    \nname                \tstring              \t                    \n",
        ),
    ] {
        let id = endpoint.submit(sql, "default").await;
        let execution = endpoint.wait(&id).await;
        let location = execution.result_configuration.unwrap().output_location.unwrap();
        assert_eq!(location, format!("s3://results/out/{id}.txt"));
        assert_eq!(std::fs::read_to_string(endpoint.object(&location)).unwrap(), expected);
        assert!(endpoint.object(&format!("{location}.metadata")).exists());
    }
}

#[tokio::test]
async fn pages_together_are_the_result() {
    let endpoint = Endpoint::start().await;
    let lines: Vec<String> = (0..2500).map(|n| format!("{n},\"line {n}\n\"\"x\"\"\"")).collect();
    endpoint.put("default/t.csv", &format!("n,s\n{}\n", lines.join("\n")));
    let id = endpoint.submit("SELECT n, s, NULL AS z FROM t ORDER BY n", "default").await;
    let status = endpoint.wait(&id).await.status.unwrap();
    assert_eq!(status.state_change_reason, None);
    let mut rows: Vec<Vec<Option<String>>> = Vec::new();
    let mut sizes = Vec::new();
    let mut token = None;
    loop {
        let page = endpoint.client.get_query_results().query_execution_id(&id);
        let page = page.set_next_token(token).send().await.unwrap();
        let found = page.result_set.unwrap().rows.unwrap();
        sizes.push(found.len());
        rows.extend(
            found.into_iter().map(|row| {
                row.data.unwrap().into_iter().map(|datum| datum.var_char_value).collect()
            }),
        );
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    let some = |text: &str| Some(text.to_owned());
    let mut expected = vec![vec![some("n"), some("s"), some("z")]];
    expected.extend(
        (0..2500).map(|n| vec![some(&n.to_string()), some(&format!("line {n}\n\"x\"")), None]),
    );
    assert_eq!(sizes, [1000, 1000, 501]);
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn columns_are_described_as_athena_does() {
    let endpoint = Endpoint::start().await;
    let sql = "SELECT 'a' AS s, cast(1 as integer) AS i, cast(1 as decimal(9, 2)) AS d, 1e0 AS f";
    let id = endpoint.submit(sql, "default").await;
    endpoint.wait(&id).await;
    let page = endpoint.client.get_query_results().query_execution_id(&id).send().await.unwrap();
    let columns = page.result_set.unwrap().result_set_metadata.unwrap().column_info.unwrap();
    let columns: Vec<_> = columns
        .iter()
        .map(|c| (c.name.as_str(), c.r#type.as_str(), c.precision, c.scale, c.case_sensitive))
        .collect();
    assert_eq!(
        columns,
        [
            ("s", "varchar", 2_147_483_647, 0, true),
            ("i", "integer", 10, 0, false),
            ("d", "decimal", 9, 2, false),
            ("f", "double", 17, 0, false),
        ]
    );
}
