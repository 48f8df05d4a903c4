//! Folders to read: planted private values in every format, many plain files, hostile ones.

use crate::harness::Place;
use crate::oracle::{Canary, encode_base64};
use std::io::{Cursor, Write as _};
use std::path::PathBuf;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A sentence around a planted value, as people write them.
struct Planted {
    canary: Canary,
    line: String,
}

/// Values of every category that detectors cover, others for every `no` (0 to 9). Keys and tokens
/// are put together here so that nothing in the source looks like one.
fn planted(no: usize) -> Vec<Planted> {
    assert!(no < 10);
    let email = format!("quillon.ferrybridge{no}@planted{no}.example.com");
    let phone = format!("+44 20 7946 0{no}31");
    let card = with_luhn(&format!("51054{no}321098765"));
    let card = format!("{} {} {} {}", &card[..4], &card[4..8], &card[8..12], &card[12..]);
    let iban = iban("GB", &format!("HVNK0004187{no}546771"));
    let national = format!("JG1213{no}6A");
    let born = format!("{} March 196{no}", 11 + no);
    let password = format!("Wombat-{no}7-Turnstile!q");
    let cloud = format!("AKI{}Q3EGT7{}ZLWXB5VRA", "A", char::from(b'A' + no as u8));
    let token = format!("gh{}16C7e42F292c6912E7{no}10c838347Ae178B4a", "p_");
    let jwt = format!(
        "{}.{}.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR{no}U",
        encode_base64(br#"{"alg":"HS256","typ":"JWT"}"#).trim_end_matches('='),
        encode_base64(format!(r#"{{"sub":"planted-{no}-0"}}"#).as_bytes()).trim_end_matches('='),
    );
    let address = format!("74{no} Evergreen Terrace, Springfield, IL 6270{no}");
    let one = |category: &str, value: &str, line: String| Planted { canary: Canary::new(category, value), line };
    vec![
        one("email", &email, format!("Please write to {email} about the survey.")),
        one("phone", &phone, format!("The caretaker's phone is {phone} during the week.")),
        one("card", &card, format!("He paid with card {card} at the desk.")),
        one("iban", &iban, format!("The account is IBAN {iban} as before.")),
        one("national_id", &national, format!("Her NI number is {national} on the form.")),
        one("birth_date", &born, format!("The tenant was born on {born} in the old town.")),
        one("password", &password, format!("For the portal the password: {password}")),
        one("cloud_key", &cloud, format!("The backup used aws_access_key_id = {cloud} until March.")),
        one("access_token", &token, format!("The build used {token} by mistake.")),
        one("jwt", &jwt, format!("The browser sent {jwt} with it.")),
        one("address", &address, format!("The owner lives at {address}.")),
    ]
}

fn private_key() -> (Canary, String) {
    let line =
        |no: u8| encode_base64(&(0..48u8).map(|i| i.wrapping_mul(5).wrapping_add(no * 31 + 7)).collect::<Vec<u8>>());
    let (begin, end) = (format!("-----BEGIN {} KEY-----", "PRIVATE"), format!("-----END {} KEY-----", "PRIVATE"));
    let block = format!("{begin}\n{}\n{}\n{}\n{end}\n", line(1), line(2), line(3));
    (Canary::new("private_key", &line(2)), block)
}

fn with_luhn(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, b)| {
            let digit = u32::from(b - b'0') * if at % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

fn iban(country: &str, account: &str) -> String {
    let number: String = format!("{account}{country}00")
        .bytes()
        .map(|b| match b {
            b'0'..=b'9' => char::from(b).to_string(),
            _ => (b - b'A' + 10).to_string(),
        })
        .collect();
    let rest = number.bytes().fold(0u32, |rest, b| (rest * 10 + u32::from(b - b'0')) % 97);
    format!("{country}{:02}{account}", 98 - rest)
}

/// A folder with planted values in every text format; gives what was planted, with the file.
pub fn planted_folder(place: &Place, name: &str) -> (PathBuf, Vec<(Canary, String)>) {
    let folder = place.make(name);
    let mut all = Vec::new();
    let mut put = |file: &str, no: usize, content: &dyn Fn(&[String]) -> Vec<u8>| {
        let values = planted(no);
        let lines: Vec<String> = values.iter().map(|p| p.line.clone()).collect();
        place.write(&format!("{name}/{file}"), content(&lines));
        all.extend(values.into_iter().map(|p| (p.canary, file.to_owned())));
    };
    put("notes.txt", 0, &|lines| lines.join("\n").into_bytes());
    put("report.md", 1, &|lines| format!("# A survey\n\n{}\n", lines.join("\n\n")).into_bytes());
    put("page.html", 2, &|lines| {
        let body: String = lines.iter().map(|l| format!("<p>{}</p>\n", l.replace('@', "&#64;"))).collect();
        format!("<!doctype html><html><head><title>A page</title></head><body>{body}</body></html>").into_bytes()
    });
    put("table.csv", 3, &|lines| {
        let rows: String = lines.iter().enumerate().map(|(no, l)| format!("{no},\"{l}\"\n")).collect();
        format!("no,note\n{rows}").into_bytes()
    });
    put("data.json", 4, &|lines| serde_json::json!({ "notes": lines }).to_string().into_bytes());
    put("quoted.eml", 5, &|lines| mail("quoted-printable", &quoted_printable(&lines.join("\r\n"))));
    put("coded.eml", 6, &|lines| mail("base64", &wrapped(&encode_base64(lines.join("\r\n").as_bytes()))));
    put("letter.docx", 7, &docx);
    put("drawing.pdf", 8, &pdf);
    let (key, block) = private_key();
    place.write(&format!("{name}/key.txt"), format!("The key of the old server:\n\n{block}\nIt was replaced.\n"));
    all.push((key, "key.txt".into()));
    (folder, all)
}

fn mail(coding: &str, body: &str) -> Vec<u8> {
    format!(
        "From: Desk <desk@example.org>\r\nTo: Office <office@example.org>\r\nSubject: A survey\r\n\
         Date: Mon, 2 Mar 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {coding}\r\n\r\n{body}\r\n"
    )
    .into_bytes()
}

/// With every second character escaped and soft breaks everywhere.
fn quoted_printable(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'\r' || byte == b'\n' {
            out.push(char::from(byte));
            column = 0;
            continue;
        }
        if column > 60 {
            out.push_str("=\r\n");
            column = 0;
        }
        let coded = if at % 2 == 0 || byte == b'=' { format!("={byte:02X}") } else { char::from(byte).to_string() };
        column += coded.len();
        out.push_str(&coded);
    }
    out
}

fn wrapped(text: &str) -> String {
    text.as_bytes().chunks(76).map(|line| format!("{}\r\n", String::from_utf8_lossy(line))).collect()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn docx_of(body: &[u8]) -> Vec<u8> {
    let relations = "<?xml version=\"1.0\"?><Relationships><Relationship Id=\"rId1\" \
        Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" \
        Target=\"word/document.xml\"/></Relationships>";
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><w:document \
        xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body>";
    let document = [head.as_bytes(), body, b"</w:body></w:document>"].concat();
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", relations.as_bytes()),
        ("word/document.xml", &document),
    ])
}

fn docx(lines: &[String]) -> Vec<u8> {
    // Each line in two runs: what is planted is torn apart in the file itself.
    let runs = |line: &str| {
        let (a, b) = line.split_at(line.len() / 2);
        format!("<w:r><w:t xml:space=\"preserve\">{a}</w:t></w:r><w:r><w:t xml:space=\"preserve\">{b}</w:t></w:r>")
    };
    let body: String = lines.iter().map(|line| format!("<w:p>{}</w:p>", runs(line))).collect();
    docx_of(body.as_bytes())
}

fn pdf(lines: &[String]) -> Vec<u8> {
    let kids: Vec<String> = (0..lines.len()).map(|at| format!("{} 0 R", 4 + at * 2)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{}] /Count {} /MediaBox [0 0 900 792] >>", kids.join(" "), lines.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    for (at, line) in lines.iter().enumerate() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /Resources << /Font << /F1 3 0 R >> >> /Contents {} 0 R >>",
            5 + at * 2
        ));
        let content = format!("BT /F1 8 Tf 20 720 Td ({line}) Tj ET");
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
    }
    let mut file = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut offsets = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.extend_from_slice(format!("{} 0 obj\n{object}\nendobj\n", at + 1).as_bytes());
    }
    let start = file.len();
    let size = objects.len() + 1;
    file.extend_from_slice(format!("xref\n0 {size}\n0000000000 65535 f \n").as_bytes());
    for offset in offsets {
        file.extend_from_slice(format!("{offset:010} 00000 n \n").as_bytes());
    }
    file.extend_from_slice(format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").as_bytes());
    file
}

/// A folder of many plain files, enough work for a run to be interrupted in. Each has its number
/// in its name and in its text, and an address to put back.
pub fn many(place: &Place, name: &str, count: usize) -> PathBuf {
    for no in 0..count {
        let mut text = format!("File number {no:03} was written by person{no:03}@many.example.com in the office.\n");
        for at in 0..40 {
            text.push_str(&format!(
                "Sentence {at} of it speaks of damp, roofs and gutters in the old town, {}.\n",
                at * no
            ));
        }
        place.write(&format!("{name}/file-{no:03}.txt"), text);
    }
    place.path(name)
}

/// A small pdf, cut off in the middle.
pub fn cut_pdf() -> Vec<u8> {
    let whole = pdf(&["This page is never read.".to_owned()]);
    whole[..whole.len() / 2].to_vec()
}

/// A document of a few hundred kilobytes that unpacks to 300 MB.
pub fn zip_bomb() -> Vec<u8> {
    docx_of(&vec![b' '; 300 << 20])
}

/// Bytes that look random and are the same every time.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}
