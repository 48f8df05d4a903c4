//! Text extraction on honest and hostile files (A18, and A14 for file formats).
//!
//! Rich formats run in a real sandboxed child (`examples/extract_child.rs`),
//! where hostile ones may do their worst; the parent must get an error or a
//! text, soon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod fixtures;
mod hostile;

use std::time::Duration;

use fixtures::{docx, p, part, pdf, pdf_objects};
use tidegate_ops::extract::{ExtractError, ExtractLimits, Extracted, Format, extract, extract_sandboxed};
use tidegate_seams::sandbox::{ChildPool, PoolConfig};

fn pool() -> ChildPool {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/extract_child");
    assert!(program.exists(), "run `cargo build --examples` first: {} is missing", program.display());
    ChildPool::new(PoolConfig { program, ..PoolConfig::default() })
}

async fn run(format: Format, bytes: Vec<u8>, limits: ExtractLimits) -> Result<Extracted, ExtractError> {
    extract_sandboxed(&pool(), "test", format, bytes, limits).await
}

async fn good(format: Format, bytes: impl Into<Vec<u8>>) -> Extracted {
    match run(format, bytes.into(), ExtractLimits::default()).await {
        Ok(extracted) => extracted,
        Err(error) => panic!("{error:?}"),
    }
}

#[track_caller]
fn holds(extracted: &Extracted, parts: &[&str]) {
    for part in parts {
        assert!(extracted.text.contains(part), "{part:?} in {:?}", extracted.text);
    }
}

#[tokio::test]
async fn plain_formats_are_read_in_the_process() {
    let text = good(Format::Text, "\u{feff}one\r\ntwo\rthree\0").await;
    assert_eq!(text.text, "one\ntwo\nthree\u{fffd}");
    let wide: Vec<u8> = "hé😀".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(good(Format::Markdown, [&b"\xff\xfe"[..], &wide].concat()).await.text, "hé😀");
    let csv = good(Format::Csv, "name,\"a\r\nb\"\r\nAda,1\r\n").await;
    assert_eq!((csv.text.as_str(), csv.parts), ("name,\"a\nb\"\nAda,1\n", 2));
    assert_eq!(
        good(Format::Json, r#"{"mail":"ada\u0040example.org","n":12.50}"#).await.text,
        r#"{"mail":"ada@example.org","n":12.50}"#
    );
    let large = good(Format::Text, "x".repeat(1 << 20)).await;
    assert_eq!(large.text.len(), 1 << 20);
}

#[tokio::test]
async fn html_is_read_in_a_child() {
    let html = good(Format::Html, "<title>T</title><p>Hello <b>wo</b>rld<img alt=pic><a href=tel:+49>x</a>").await;
    assert_eq!(html.title.as_deref(), Some("T"));
    holds(&html, &["T\n", "Hello world", "pic", "<tel:+49>"]);
}

#[tokio::test]
async fn docx_gives_every_corner() {
    let body = [
        p("First &amp; <w:noBreakHyphen/>").replace("<w:noBreakHyphen/>", "&#233;"),
        "<w:p><w:r><w:t>joi</w:t></w:r><w:r><w:t>ned</w:t><w:tab/><w:t>tab</w:t><w:br/><w:t>br</w:t></w:r></w:p>".into(),
        format!("<w:tbl><w:tr><w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr><w:tr><w:tc>{}</w:tc></w:tr></w:tbl>", p("c1"), p("c2"), p("c3")),
        "<w:p><w:ins w:id=\"1\"><w:r><w:t>inserted</w:t></w:r></w:ins><w:del><w:r><w:delText>gone</w:delText><w:t>gone too</w:t></w:r></w:del></w:p>".into(),
        "<w:p><w:hyperlink r:id=\"rId9\"><w:r><w:t>link</w:t></w:r></w:hyperlink></w:p>".into(),
        "<w:p><w:r><w:instrText> HYPERLINK \"mailto:old@example.org\" \\h </w:instrText></w:r></w:p>".into(),
        format!(
            "<w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent>{}</w:txbxContent></mc:Choice><mc:Fallback>\
             <w:txbxContent>{}</w:txbxContent></mc:Fallback></mc:AlternateContent></w:r></w:p>",
            p("in a box"), p("in a box")
        ),
        "<w:p><w:r><w:drawing><wp:docPr id=\"1\" name=\"n\" descr=\"a &quot;picture&quot;\"/></w:drawing><w:sym w:char=\"F041\"/></w:r></w:p>".into(),
    ]
    .concat();
    let file = docx(
        &body,
        &[
            ("word/header1.xml", &part("hdr", &p("head"))),
            ("word/footer1.xml", &part("ftr", &p("foot"))),
            ("word/footnotes.xml", &part("footnotes", &format!("<w:footnote>{}</w:footnote>", p("footnote")))),
            ("word/endnotes.xml", &part("endnotes", &format!("<w:endnote>{}</w:endnote>", p("endnote")))),
            (
                "word/comments.xml",
                &part("comments", &format!("<w:comment w:author=\"Ada\">{}</w:comment>", p("remark"))),
            ),
            ("word/styles.xml", &part("styles", &p("not text"))),
            (
                "word/_rels/document.xml.rels",
                "<Relationships><Relationship Id=\"rId9\" TargetMode=\"External\" Type=\"x/hyperlink\" Target=\"https://example.org/?a=1&amp;b=2\"/></Relationships>",
            ),
            (
                "docProps/core.xml",
                "<cp:coreProperties xmlns:cp=\"c\" xmlns:dc=\"d\"><dc:title>My &lt;Title&gt;</dc:title></cp:coreProperties>",
            ),
        ],
    );
    let text = good(Format::Docx, file).await;
    assert_eq!(text.title.as_deref(), Some("My <Title>"));
    assert_eq!((text.parts, text.unreadable, text.truncated), (6, 0, false));
    holds(
        &text,
        &[
            "My <Title>\n",
            "First & é\n",
            "joined\ttab\nbr\n",
            "c1\tc2\nc3\n",
            "inserted",
            "link <https://example.org/?a=1&b=2>",
            "<mailto:old@example.org>",
            "in a box",
            "a \"picture\" A",
            "head\n",
            "foot\n",
            "footnote\n",
            "endnote\n",
            "remark\n",
        ],
    );
    assert!(!text.text.contains("gone") && !text.text.contains("not text"));
    assert_eq!(text.text.matches("in a box").count(), 1);
}

#[tokio::test]
async fn eml_gives_headers_bodies_and_attached_text() {
    let mail = "From: =?utf-8?q?Ad=C3=A9?= <ada@example.org>\r\nTo: \"Bo B\" <bo@example.org>, cy@example.org\r\n\
        Cc: team: dee@example.org;\r\nSubject: =?utf-8?b?U2Now7Zu?=\r\nDate: Mon, 02 Mar 2026 10:00:00 +0100\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=OUT\r\n\r\n--OUT\r\n\
        Content-Type: multipart/alternative; boundary=ALT\r\n\r\n--ALT\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nplain caf=C3=A9 lo=\r\nng\r\n--ALT\r\nContent-Type: text/html\r\n\r\n\
        <p>rich</p>\r\n--ALT--\r\n--OUT\r\nContent-Type: text/csv; name=\"list.csv\"\r\nContent-Disposition: attachment; filename=\"list.csv\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nbmFtZSxhZ2UKQWRhLDM2Cg==\r\n--OUT\r\nContent-Type: application/octet-stream; name=\"notes.md\"\r\n\
        Content-Disposition: attachment; filename=\"notes.md\"\r\nContent-Transfer-Encoding: base64\r\n\r\nIyBhdHRhY2hlZCBub3Rlcwo=\r\n--OUT\r\n\
        Content-Type: image/png; name=\"pic.png\"\r\nContent-Disposition: attachment; filename=\"pic.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n\
        --OUT\r\nContent-Type: message/rfc822\r\n\r\nFrom: inner@example.org\r\nSubject: inner subject\r\n\r\ninner body\r\n--OUT--\r\n";
    let text = good(Format::Eml, mail).await;
    assert_eq!(text.title.as_deref(), Some("Schön"));
    holds(
        &text,
        &[
            "From: Adé <ada@example.org>\n",
            "To: Bo B <bo@example.org>, cy@example.org\n",
            "Cc: team: dee@example.org\n",
            "Subject: Schön\n",
            "Date: 2026-03-02T10:00:00+01:00\n",
            "plain café long\n",
            "Attachment: list.csv\nname,age\nAda,36\n",
            "Attachment: notes.md\n# attached notes\n",
            "Attachment: pic.png\n",
            "From: inner@example.org\n",
            "inner body",
        ],
    );
    assert!(!text.text.contains("rich"), "the plain alternative was there");
    assert_eq!((text.parts, text.unreadable), (6, 0));

    let only_html =
        "From: a@b.c\r\nContent-Type: text/html; charset=iso-8859-2\r\n\r\n<h1>\u{be}</h1><script>no</script>";
    let latin: Vec<u8> = only_html.chars().map(|found| found as u8).collect();
    let text = good(Format::Eml, latin).await;
    holds(&text, &["ž\n"]);
    assert!(!text.text.contains("no"));
}

#[tokio::test]
async fn pdf_gives_pages_notes_fields_and_links() {
    let file = pdf(&pdf_objects(&["Hello page one", "Second page"]), "/Info 4 0 R");
    let text = good(Format::Pdf, file).await;
    assert_eq!(text.title.as_deref(), Some("Fixture"));
    assert_eq!((text.parts, text.unreadable), (2, 0));
    holds(&text, &["Hello page one", "Second page", "filled in", "a note", "<https://example.org/x>"]);
}

#[tokio::test]
async fn one_bad_page_costs_one_page() {
    let mut objects = pdf_objects(&["Good one", "Bad one", "Good two"]);
    objects[8] = "<< /Length 27 >>\nstream\nBT /F1 12 Tf 7 Tj (x) Tj ET\nendstream".into();
    let text = good(Format::Pdf, pdf(&objects, "")).await;
    assert_eq!((text.parts, text.unreadable), (3, 1));
    holds(&text, &["Good one", "Good two"]);
}

#[tokio::test]
async fn the_output_is_cut_at_its_limit_and_says_so() {
    let limits = ExtractLimits { output_bytes_max: 100, ..ExtractLimits::default() };
    let body: String = (0..50).map(|_| p("a paragraph of text")).collect();
    let cases = [
        (Format::Text, "word ".repeat(100).into_bytes()),
        (Format::Json, "[1,2,3,4,5]".repeat(50).into_bytes()),
        (Format::Html, "<p>word</p>".repeat(100).into_bytes()),
        (Format::Eml, format!("Subject: s\n\n{}", "word ".repeat(100)).into_bytes()),
        (Format::Pdf, pdf(&pdf_objects(&["some words on a page"; 20]), "")),
        (Format::Docx, docx(&body, &[])),
    ];
    for (format, bytes) in cases {
        let text = run(format, bytes, limits).await.ok().unwrap_or_else(|| panic!("{format:?}"));
        assert!(text.truncated && text.text.len() <= 100 && text.text.len() > 90, "{format:?}: {}", text.text.len());
    }
}

#[tokio::test]
async fn the_input_limit_is_named() {
    let limits = ExtractLimits { input_bytes_max: 10, ..ExtractLimits::default() };
    for format in Format::ALL {
        let outcome = run(format, vec![b'x'; 11], limits).await;
        let error = outcome.err().unwrap();
        assert!(matches!(error, ExtractError::InputTooLarge { bytes: 11, bytes_max: 10 }));
        assert!(error.to_string().contains("10"));
        assert!(matches!(extract(format, &[b'x'; 11], &limits), Err(ExtractError::InputTooLarge { .. })));
    }
}

/// Not a bound, a figure for the docs: run in release with `--nocapture`.
#[tokio::test]
async fn what_a_file_costs() {
    let pool = pool();
    let limits = ExtractLimits::default();
    let body: String =
        (0..40).map(|at| p(&format!("Paragraph {at} of a short letter, with some words in it."))).collect();
    let html = format!(
        "<html><title>t</title><body>{}</body></html>",
        "<p>Some words and <a href=x>a link</a>.</p>".repeat(100)
    );
    let mail = format!("From: a@b.c\r\nSubject: s\r\n\r\n{}", "A line of a mail.\r\n".repeat(100));
    let cases = [
        (Format::Docx, docx(&body, &[])),
        (Format::Pdf, pdf(&pdf_objects(&["A line on a page of a small document"; 5]), "")),
        (Format::Html, html.into_bytes()),
        (Format::Eml, mail.into_bytes()),
        (Format::Text, vec![b'x'; 10_000]),
    ];
    for (format, bytes) in cases {
        let first = std::time::Instant::now();
        extract_sandboxed(&pool, format.name(), format, bytes.clone(), limits).await.ok().unwrap();
        let first = first.elapsed();
        let again = std::time::Instant::now();
        for _ in 0..50 {
            extract_sandboxed(&pool, format.name(), format, bytes.clone(), limits).await.ok().unwrap();
        }
        println!("{:>5}: {} bytes, first {first:?}, then {:?}", format.name(), bytes.len(), again.elapsed() / 50);
    }
    assert!(pool.status().started >= 4);
    assert_eq!(limits.deadline, Duration::from_secs(30));
}
