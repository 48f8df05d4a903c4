//! Files made to hurt: each must end in an error or a text, within its deadline,
//! with the parent unharmed.

use std::time::{Duration, Instant};

use tidegate_ops::extract::{Bound, ExtractError, ExtractLimits, Extracted, Flaw, Format, extract_sandboxed};
use tidegate_seams::sandbox::ChildError;

use super::fixtures::{docx, noise, p, part, pdf, pdf_objects, zip};
use super::{holds, pool};

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a hostile file and checks what holds for all: it ends in time, and the
/// same pool still serves.
async fn survive(format: Format, bytes: Vec<u8>) -> Result<Extracted, ExtractError> {
    let pool = pool();
    let limits = ExtractLimits { deadline: DEADLINE, ..ExtractLimits::default() };
    let begun = Instant::now();
    let outcome = extract_sandboxed(&pool, "hostile", format, bytes, limits).await;
    let took = begun.elapsed();
    assert!(took < DEADLINE + Duration::from_secs(3), "{took:?}");
    let after = extract_sandboxed(&pool, "hostile", Format::Html, b"<p>still here".to_vec(), limits).await;
    assert!(after.is_ok_and(|after| after.text == "still here\n"));
    match &outcome {
        Ok(text) => {
            println!("text of {} bytes, {} unreadable, {took:?}", text.text.len(), text.unreadable)
        }
        Err(error) => println!("{error:?}, {took:?}"),
    }
    outcome
}

fn malformed(outcome: &Result<Extracted, ExtractError>, wanted: Flaw) -> bool {
    matches!(outcome, Err(ExtractError::Malformed { flaw, .. }) if *flaw == wanted)
}

#[tokio::test]
async fn a18_zip_bombs() {
    let zeros = vec![b' '; 200 << 20];
    let outcome = survive(Format::Docx, zip(&[("word/document.xml", &zeros)])).await;
    assert!(matches!(outcome, Err(ExtractError::LimitPassed { bound: Bound::InflatedBytes, .. })));

    let outcome = survive(Format::Docx, zip(&[("word/document.xml", &zeros[..20 << 20])])).await;
    assert!(matches!(outcome, Err(ExtractError::LimitPassed { bound: Bound::InflateRatio, .. })));

    let part = &zeros[..7 << 20];
    let names: Vec<String> = (0..40).map(|at| format!("word/header{at}.xml")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("word/document.xml", b"<a/>")];
    entries.extend(names.iter().map(|name| (name.as_str(), part)));
    let outcome = survive(Format::Docx, zip(&entries)).await;
    assert!(matches!(outcome, Err(ExtractError::LimitPassed { bound: Bound::InflatedBytes, .. })));

    let names: Vec<String> = (0..20_000).map(|at| format!("word/{at}.xml")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"<a/>"[..])).collect();
    let outcome = survive(Format::Docx, zip(&entries)).await;
    assert!(matches!(outcome, Err(ExtractError::LimitPassed { bound: Bound::Entries, max: 10_000 })));
}

#[tokio::test]
async fn a18_sizes_that_lie_and_entries_that_overlap() {
    // The declared unpacked size is made small in both headers.
    let big = vec![b' '; 150 << 20];
    let mut file = zip(&[("word/document.xml", &big)]);
    let declared = (big.len() as u32).to_le_bytes();
    let places: Vec<usize> =
        file.windows(4).enumerate().filter(|(_, part)| *part == declared).map(|(at, _)| at).collect();
    for at in places {
        file[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
    }
    let outcome = survive(Format::Docx, file).await;
    assert!(matches!(outcome, Err(ExtractError::LimitPassed { .. } | ExtractError::Malformed { .. })));

    // Two directory entries for the same bytes.
    let mut file = zip(&[("word/document.xml", b"<w:t>a</w:t>"), ("word/header1.xml", b"<w:t>b</w:t>")]);
    let directory: Vec<usize> =
        file.windows(4).enumerate().filter(|(_, part)| *part == b"PK\x01\x02").map(|(at, _)| at).collect();
    let second = directory[1] + 42;
    file[second..second + 4].copy_from_slice(&0u32.to_le_bytes());
    let outcome = survive(Format::Docx, file).await;
    assert!(malformed(&outcome, Flaw::AmbiguousEntries) || malformed(&outcome, Flaw::Damaged));

    // Two entries of one name, by case and exactly.
    let outcome =
        survive(Format::Docx, zip(&[("word/document.xml", b"<w:t>a</w:t>"), ("word/Document.xml", b"<w:t>b</w:t>")]))
            .await;
    assert!(malformed(&outcome, Flaw::AmbiguousEntries));
    let mut file = zip(&[("word/document.xml", b"<w:t>a</w:t>"), ("word/documenx.xml", b"<w:t>b</w:t>")]);
    let places: Vec<usize> =
        file.windows(9).enumerate().filter(|(_, part)| *part == b"documenx.").map(|(at, _)| at).collect();
    for at in places {
        file[at + 7] = b't';
    }
    assert!(malformed(&survive(Format::Docx, file).await, Flaw::AmbiguousEntries));
}

#[tokio::test]
async fn damaged_documents() {
    let whole = docx(&p("text"), &[]);
    for cut in [0, 3, whole.len() / 2, whole.len() - 5] {
        assert!(matches!(survive(Format::Docx, whole[..cut].to_vec()).await, Err(ExtractError::Malformed { .. })));
    }
    assert!(malformed(&survive(Format::Docx, zip(&[("a.txt", b"x")])).await, Flaw::NoContent));
    assert!(malformed(&survive(Format::Docx, b"not a zip".to_vec()).await, Flaw::NotThisFormat));
    let encrypted = survive(Format::Docx, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1....".to_vec()).await;
    assert!(matches!(encrypted, Err(ExtractError::Encrypted { format: Format::Docx })));
    // A broken side part costs itself, not the document.
    let text = survive(
        Format::Docx,
        docx(
            &p("kept"),
            &[("word/header1.xml", "<w:hdr><w:t>half</w:t><w:"), ("word/footer1.xml", &part("ftr", &p("foot")))],
        ),
    )
    .await
    .ok()
    .unwrap();
    holds(&text, &["kept", "half", "foot"]);
    assert_eq!(text.unreadable, 1);
}

#[tokio::test]
async fn xml_that_explodes_or_nests() {
    let mut laughs = String::from("<?xml version=\"1.0\"?><!DOCTYPE w [<!ENTITY a0 \"ha\">");
    for at in 1..20 {
        laughs.push_str(&format!("<!ENTITY a{at} \"{}\">", format!("&a{};", at - 1).repeat(10)));
    }
    laughs.push_str("]><w:document><w:t>&a19;</w:t></w:document>");
    let outcome = survive(Format::Docx, zip(&[("word/document.xml", laughs.as_bytes())])).await;
    assert!(malformed(&outcome, Flaw::EntityDeclarations));
    let outcome = survive(Format::Docx, docx(&p("x"), &[("word/_rels/document.xml.rels", &laughs)])).await;
    assert!(malformed(&outcome, Flaw::EntityDeclarations));

    let depth = 100_000;
    for tag in ["w:p", "w:t", "w:hyperlink", "mc:AlternateContent", "mc:Fallback", "w:del"] {
        let deep = format!("{}{}{}", format!("<{tag}>").repeat(depth), p("bottom"), format!("</{tag}>").repeat(depth));
        let text = survive(Format::Docx, docx(&deep, &[])).await.ok().unwrap();
        assert_eq!(text.text.contains("bottom"), tag != "w:del", "{tag}");
    }
}

#[tokio::test]
async fn html_that_nests_or_never_ends() {
    for tag in ["div", "b", "table><tr><td", "p", "svg", "template", "select", "pre"] {
        let deep = format!("{}bottom", format!("<{tag}>").repeat(100_000));
        let text = survive(Format::Html, deep.into_bytes()).await.ok().unwrap();
        assert!(text.text.ends_with("bottom\n"), "{tag}");
    }
    let attributes: String = (0..20_000).map(|at| format!(" a{at}=x")).collect();
    let text = survive(Format::Html, format!("<p{attributes}>end").into_bytes()).await.ok().unwrap();
    assert_eq!(text.text, "end\n");
    for open in ["<script>", "<!--", "<title>", "<p title='", "&", "<![CDATA["] {
        survive(Format::Html, format!("x{open}{}", "y".repeat(1 << 20)).into_bytes()).await.ok().unwrap();
    }
}

#[tokio::test]
async fn mails_that_nest() {
    let mut parts = String::from("From: a@b.c\r\nMIME-Version: 1.0\r\n");
    for at in 0..10_000 {
        parts.push_str(&format!("Content-Type: multipart/mixed; boundary=b{at}\r\n\r\n--b{at}\r\n"));
    }
    parts.push_str("Content-Type: text/plain\r\n\r\nbottom\r\n");
    let text = survive(Format::Eml, parts.into_bytes()).await;
    if let Ok(text) = text {
        holds(&text, &["From: a@b.c"]);
    }
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(4000) + "From: a@b.c\r\n\r\nbottom";
    let text = survive(Format::Eml, messages.into_bytes()).await.ok().unwrap();
    assert_eq!(text.unreadable, 1, "followed to a depth, and the rest is counted");
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000) + "From: a@b.c\r\n\r\nbottom";
    let outcome = survive(Format::Eml, messages.into_bytes()).await;
    assert!(matches!(outcome, Err(ExtractError::LimitPassed { bound: Bound::NestedMessages, .. })));
    // The same, announced in a way that the count does not see.
    let hidden = "Content-Type: message/(x)rfc822\r\n\r\n".repeat(100_000) + "From: a@b.c\r\n\r\nbottom";
    let _ = survive(Format::Eml, hidden.into_bytes()).await;
    assert!(survive(Format::Eml, Vec::new()).await.is_err());
}

#[tokio::test]
async fn pdfs_that_loop() {
    let page = "<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>".to_owned();
    let catalog = "<< /Type /Catalog /Pages 2 0 R >>".to_owned();
    let content = "<< /Length 0 >>\nstream\n\nendstream".to_owned();
    // A page tree that is its own child, and a parent chain without an end.
    let tree = "<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 /Parent 2 0 R >>".to_owned();
    let outcome = survive(Format::Pdf, pdf(&[catalog.clone(), tree, page.clone(), content.clone()], "")).await;
    assert!(!matches!(outcome, Err(ExtractError::BadAnswer)));
    // A content stream that draws itself.
    let mut objects = pdf_objects(&["x"]);
    objects[5] = "<< /Type /Page /Parent 2 0 R /Resources << /XObject << /X 7 0 R >> >> /Contents 7 0 R >>".into();
    objects[6] = "<< /Type /XObject /Subtype /Form /Resources << /XObject << /X 7 0 R >> >> /Length 5 >>\nstream\n/X Do\nendstream".into();
    let _ = survive(Format::Pdf, pdf(&objects, "")).await;
    // Objects that refer to each other, and a length that is itself.
    let outcome = survive(
        Format::Pdf,
        pdf(&[catalog, "3 0 R".into(), "2 0 R".into(), "<< /Length 4 0 R >>\nstream\nx\nendstream".into()], ""),
    )
    .await;
    assert!(outcome.is_err());
    // A cross-reference table whose predecessor is itself.
    let mut file = pdf(&pdf_objects(&["loop"]), "");
    let start = file.windows(4).position(|part| part == b"xref").unwrap();
    let tail = String::from_utf8_lossy(&file[start..]).replace("/Root 1 0 R", &format!("/Root 1 0 R /Prev {start}"));
    file.truncate(start);
    file.extend_from_slice(tail.as_bytes());
    let _ = survive(Format::Pdf, file).await;
}

#[tokio::test]
async fn pdfs_that_are_garbage() {
    assert!(malformed(&survive(Format::Pdf, noise(1 << 20)).await, Flaw::NotThisFormat));
    assert!(matches!(
        survive(Format::Pdf, [b"%PDF-1.7\n", &noise(1 << 20)[..]].concat()).await,
        Err(ExtractError::Malformed { .. })
    ));
    assert!(survive(Format::Pdf, Vec::new()).await.is_err());
    let whole = pdf(&pdf_objects(&["some text"]), "");
    let mut state = 1u32;
    for _ in 0..40 {
        let mut broken = whole.clone();
        for _ in 0..8 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = state as usize % broken.len();
            broken[at] = (state >> 24) as u8;
        }
        let _ = survive(Format::Pdf, broken).await;
    }
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let _ = survive(Format::Pdf, pdf(&["<< /Type /Catalog /Pages 2 0 R >>".into(), nested], "")).await;
}

#[tokio::test]
async fn pdf_that_asks_for_a_password() {
    use pdf_extract::{Document, EncryptionState, EncryptionVersion, Permissions};
    for (password, readable) in [("", true), ("secret", false)] {
        let ids = "/ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]";
        let mut document = Document::load_mem(&pdf(&pdf_objects(&["hidden words"]), ids)).unwrap();
        let version = EncryptionVersion::V2 {
            document: &document,
            owner_password: "owner",
            user_password: password,
            key_length: 128,
            permissions: Permissions::all(),
        };
        let state = EncryptionState::try_from(version).unwrap();
        document.encrypt(&state).unwrap();
        let mut file = Vec::new();
        document.save_to(&mut file).unwrap();
        let outcome = survive(Format::Pdf, file).await;
        if readable {
            holds(&outcome.ok().unwrap(), &["hidden words"]);
        } else {
            assert!(matches!(outcome, Err(ExtractError::Encrypted { format: Format::Pdf })), "{:?}", outcome.err());
        }
    }
    // A claim to be encrypted that makes no sense.
    let claim = "/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <11> /U <22> >> /ID [<00> <00>]";
    assert!(survive(Format::Pdf, pdf(&pdf_objects(&["secret"]), claim)).await.is_err());
}

#[tokio::test]
async fn noise_and_emptiness_in_every_format() {
    for format in Format::ALL {
        let outcome = survive(format, Vec::new()).await;
        assert!(outcome.is_ok() != matches!(format, Format::Pdf | Format::Docx | Format::Eml), "{format:?}");
        let _ = survive(format, noise(1 << 20)).await;
    }
    assert_eq!(Format::detect("noise.txt", &noise(4096)), None);
    assert_eq!(Format::detect("noise.html", &noise(4096)), None);
}

#[tokio::test]
async fn sixty_four_megabytes_of_noise() {
    for format in [Format::Text, Format::Html, Format::Pdf, Format::Docx, Format::Eml] {
        match survive(format, noise(64 << 20)).await {
            Ok(text) => assert!(text.text.len() <= 16 << 20),
            Err(error) => assert!(!matches!(error, ExtractError::BadAnswer), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_takes_too_long_names_its_limit() {
    let attributes: String = (0..3_000_000).map(|at| format!(" a{at}=x")).collect();
    let limits = ExtractLimits { deadline: Duration::from_millis(500), ..ExtractLimits::default() };
    let begun = Instant::now();
    let outcome =
        extract_sandboxed(&pool(), "slow", Format::Html, format!("<p{attributes}>").into_bytes(), limits).await;
    assert!(matches!(outcome, Err(ExtractError::Sandbox(ChildError::TimedOut { limit })) if limit == limits.deadline));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn errors_hold_no_content() {
    let canary = "canary-4711";
    let files = [
        (Format::Docx, zip(&[(canary, canary.as_bytes())])),
        (Format::Docx, zip(&[("word/document.xml", format!("<w:t>{canary}</w:t><{canary}").as_bytes())])),
        (Format::Pdf, format!("%PDF-1.7 {canary}").into_bytes()),
        (Format::Pdf, pdf(&[format!("<< /Type /Catalog /Pages ({canary}) >>")], "")),
    ];
    for (format, file) in files {
        let error = survive(format, file).await.err().unwrap();
        assert!(!format!("{error} {error:?}").contains(canary), "{error:?}");
    }
}
