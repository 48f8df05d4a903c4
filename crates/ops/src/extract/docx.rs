//! DOCX: every part of a Word document in which somebody wrote something.
//!
//! Job: body, headers, footers, footnotes, endnotes, comments, text boxes,
//! diagrams and charts; tables with cells apart; tracked insertions (deletions
//! are gone, as the author asked); link targets; descriptions of pictures.
//!
//! Not its job: styles, numbering, embedded files. The XML is read as a stream:
//! nesting costs nothing, and a document that declares entities, which the
//! format forbids, is refused. Parts are found by name within the main part's
//! folder rather than by relation, so that an unlisted part hides nothing.

use std::collections::HashMap;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::package::Package;
use super::text::TextOut;
use super::{ExtractError, ExtractLimits, Flaw, Format, Found, charset};

/// Parts of a document's folder in which nobody writes.
const TECHNICAL: &[&str] = &[
    "styles",
    "stylesWithEffects",
    "settings",
    "webSettings",
    "fontTable",
    "numbering",
    "theme/",
    "_rels/",
    "people",
    "commentsExtended",
    "commentsExtensible",
    "commentsIds",
    "glossary/",
    "fonts/",
    "media/",
    "embeddings/",
    "diagrams/layout",
    "diagrams/quickStyle",
    "diagrams/colors",
    "diagrams/drawing",
    "charts/style",
    "charts/colors",
];

/// The order in which kinds of parts are read; others follow.
const ORDER: &[&str] = &["header", "footer", "footnotes", "endnotes", "comments"];

const FORMAT: Format = Format::Docx;

fn damaged() -> ExtractError {
    ExtractError::Malformed { format: FORMAT, flaw: Flaw::Damaged }
}

/// Reads a DOCX file.
pub(super) fn read(bytes: &[u8], limits: &ExtractLimits, out: &mut TextOut) -> Result<Found, ExtractError> {
    if bytes.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
        return Err(ExtractError::Encrypted { format: FORMAT });
    }
    let mut package = Package::open(FORMAT, bytes, limits)?;
    let names = package.names();
    let main = main_part(&mut package)?;
    let folder = main.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));

    let mut parts: Vec<&String> = names
        .iter()
        .filter(|name| {
            let inner = name
                .get(folder.len()..)
                .filter(|_| name.get(..folder.len()).is_some_and(|start| start.eq_ignore_ascii_case(&folder)));
            let xml = name.len() > 4 && name.get(name.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case(".xml"));
            xml && !name.eq_ignore_ascii_case(&main)
                && inner.is_some_and(|inner| !TECHNICAL.iter().any(|part| inner.starts_with(part)))
        })
        .filter(|name| !name.starts_with("[") && !name.starts_with("docProps/"))
        .collect();
    parts.sort_by_key(|name| {
        let inner = name.get(folder.len()..).unwrap_or(name);
        let rank = ORDER.iter().position(|kind| inner.starts_with(kind)).unwrap_or(ORDER.len());
        (rank, name.len(), (*name).clone())
    });

    let mut found = Found::default();
    let content = package.read(&main)?.ok_or(ExtractError::Malformed { format: FORMAT, flaw: Flaw::NoContent })?;
    let links = links_of(&mut package, &main)?;
    read_part(&content, &links, out)?;
    found.parts = 1;
    for part in parts {
        if out.is_full() {
            break;
        }
        let Some(content) = package.read(part)? else { continue };
        let links = links_of(&mut package, part)?;
        let before = out.len();
        out.end_line();
        match read_part(&content, &links, out) {
            Ok(()) => {}
            // One broken header is no reason to lose the document.
            Err(ExtractError::Malformed { flaw: Flaw::Damaged, .. }) => found.unreadable += 1,
            Err(error) => return Err(error),
        }
        found.parts += u32::from(out.len() > before);
    }
    if let Some(core) = package.read("docProps/core.xml")? {
        found.title = title_of(&core)?;
    }
    Ok(found)
}

/// The main part's name: what the package's relations say, else the usual one.
fn main_part(package: &mut Package<'_>) -> Result<String, ExtractError> {
    let usual = "word/document.xml".to_owned();
    let Some(relations) = package.read("_rels/.rels")? else {
        return Ok(usual);
    };
    let mut main = None;
    each_event(&relations, |event| {
        if let Event::Start(tag) | Event::Empty(tag) = event
            && tag.local_name().as_ref() == "Relationship"
            && attribute(tag, "Type").is_some_and(|kind| kind.ends_with("/officeDocument"))
        {
            main = attribute(tag, "Target");
        }
        true
    })?;
    Ok(main.map_or(usual, |target| target.trim_start_matches('/').to_owned()))
}

/// The outward links of a part, by the id its text refers to them with.
fn links_of(package: &mut Package<'_>, part: &str) -> Result<HashMap<String, String>, ExtractError> {
    let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
    let slash = if folder.is_empty() { "" } else { "/" };
    let mut links = HashMap::new();
    let Some(relations) = package.read(&format!("{folder}{slash}_rels/{name}.rels"))? else {
        return Ok(links);
    };
    let read = each_event(&relations, |event| {
        if let Event::Start(tag) | Event::Empty(tag) = event
            && attribute(tag, "TargetMode").is_some_and(|mode| mode == "External")
            && let (Some(id), Some(target)) = (attribute(tag, "Id"), attribute(tag, "Target"))
        {
            links.insert(id, target);
        }
        true
    });
    match read {
        // Without its links a part still has its text.
        Ok(()) | Err(ExtractError::Malformed { flaw: Flaw::Damaged, .. }) => Ok(links),
        Err(error) => Err(error),
    }
}

fn title_of(core: &[u8]) -> Result<Option<String>, ExtractError> {
    let mut title = String::new();
    let mut inside = false;
    each_event(core, |event| {
        match event {
            Event::Start(tag) => inside = tag.local_name().as_ref() == "title",
            Event::End(_) => inside = false,
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) if inside => title.push_str(&text_of(event)),
            _ => {}
        }
        true
    })
    .or_else(|error| match error {
        ExtractError::Malformed { flaw: Flaw::Damaged, .. } => Ok(()),
        other => Err(other),
    })?;
    Ok(Some(title).filter(|title| !title.is_empty()))
}

/// Hands every event of an XML file to `visit` until that says stop.
fn each_event(content: &[u8], mut visit: impl FnMut(&Event<'_>) -> bool) -> Result<(), ExtractError> {
    let text = charset::decode(content);
    let mut reader = Reader::from_str(&text);
    // Mismatched ends are an error in XML; text is worth more here than form.
    reader.config_mut().check_end_names = false;
    reader.config_mut().allow_unmatched_ends = true;
    reader.config_mut().allow_dangling_amp = true;
    loop {
        let event = reader.read_event().map_err(|_| damaged())?;
        match &event {
            Event::Eof => return Ok(()),
            Event::DocType(_) => {
                return Err(ExtractError::Malformed { format: FORMAT, flaw: Flaw::EntityDeclarations });
            }
            other => {
                if !visit(other) {
                    return Ok(());
                }
            }
        }
    }
}

/// The characters of a text event. Of entities only the five that XML itself
/// has, and numbers, stand for anything.
fn text_of(event: &Event<'_>) -> String {
    match event {
        Event::Text(text) => text.xml_content(XmlVersion::Implicit1_0).into_owned(),
        Event::CData(text) => text.xml_content(XmlVersion::Implicit1_0).into_owned(),
        Event::GeneralRef(entity) => match entity.resolve_char_ref() {
            Ok(Some(found)) => found.to_string(),
            Ok(None) => {
                let name = entity.clone().into_inner();
                quick_xml::escape::resolve_predefined_entity(&name).unwrap_or("\u{fffd}").to_owned()
            }
            Err(_) => "\u{fffd}".to_owned(),
        },
        _ => String::new(),
    }
}

fn attribute(tag: &BytesStart<'_>, local: &str) -> Option<String> {
    tag.attributes().with_checks(false).flatten().find(|attr| attr.key.local_name().as_ref() == local).map(|attr| {
        match attr.normalized_value(XmlVersion::Implicit1_0) {
            Ok(value) => value.into_owned(),
            Err(_) => attr.value.into_owned(),
        }
    })
}

/// Where in a part the reading is.
#[derive(Default)]
struct Place {
    /// Depth within a text-bearing element.
    in_text: u32,
    /// Within a field instruction, which is where older links are written.
    instruction: Option<String>,
    /// Depth within what was deleted or moved away.
    in_removed: u32,
    /// For each open choice between a new form and a fallback: how much text
    /// there was before it.
    choices: Vec<usize>,
    /// Depth within a fallback whose new form has already been read.
    in_repeat: u32,
    /// Targets of the links that are open.
    links: Vec<Option<String>>,
}

fn read_part(content: &[u8], links: &HashMap<String, String>, out: &mut TextOut) -> Result<(), ExtractError> {
    let mut place = Place::default();
    each_event(content, |event| {
        match event {
            Event::Start(tag) => open(tag, links, &mut place, out),
            Event::Empty(tag) => {
                open(tag, links, &mut place, out);
                close(tag.local_name().as_ref(), &mut place, out);
            }
            Event::End(tag) => close(tag.local_name().as_ref(), &mut place, out),
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_)
                if place.in_repeat == 0 && place.in_removed == 0 =>
            {
                if let Some(instruction) = &mut place.instruction {
                    instruction.push_str(&text_of(event));
                } else if place.in_text > 0 {
                    out.push(&text_of(event));
                }
            }
            _ => {}
        }
        !out.is_full()
    })?;
    out.end_line();
    Ok(())
}

fn open(tag: &BytesStart<'_>, links: &HashMap<String, String>, place: &mut Place, out: &mut TextOut) {
    let name = tag.local_name();
    match name.as_ref() {
        "Fallback" => {
            let before = place.choices.last().copied().unwrap_or(0);
            place.in_repeat += u32::from(place.in_repeat > 0 || out.len() > before);
        }
        "AlternateContent" => place.choices.push(out.len()),
        "del" | "moveFrom" => place.in_removed += 1,
        _ if place.in_repeat > 0 || place.in_removed > 0 => {}
        // Text of Word, of drawings and of formulas; a chart's cached values.
        "t" | "v" => place.in_text += 1,
        "instrText" => place.instruction = Some(String::new()),
        "tab" | "ptab" => out.push("\t"),
        "br" | "cr" => out.push("\n"),
        "noBreakHyphen" => out.push("-"),
        "sym" => {
            let code = attribute(tag, "char").and_then(|code| u32::from_str_radix(&code, 16).ok());
            // Symbol fonts sit in a private range; their low byte is the letter.
            let code = code.map(|code| if code & 0xff00 == 0xf000 { code & 0xff } else { code });
            out.push_char(code.and_then(char::from_u32).unwrap_or('\u{fffd}'));
        }
        "docPr" | "cNvPr" => {
            for kind in ["title", "descr"] {
                if let Some(text) = attribute(tag, kind).filter(|text| !text.trim().is_empty()) {
                    out.space();
                    out.push(text.trim());
                    out.space();
                }
            }
        }
        "hyperlink" => place.links.push(attribute(tag, "id").and_then(|id| links.get(&id).cloned())),
        "hlinkClick" => {
            if let Some(target) = attribute(tag, "id").and_then(|id| links.get(&id)) {
                link(target, out);
            }
        }
        "fldSimple" => {
            if let Some(target) = attribute(tag, "instr").as_deref().and_then(field_target) {
                link(target, out);
            }
        }
        _ => {}
    }
}

fn close(name: &str, place: &mut Place, out: &mut TextOut) {
    match name {
        "Fallback" => place.in_repeat = place.in_repeat.saturating_sub(1),
        "AlternateContent" => {
            place.choices.pop();
        }
        "del" | "moveFrom" => place.in_removed = place.in_removed.saturating_sub(1),
        _ if place.in_repeat > 0 || place.in_removed > 0 => {}
        "t" | "v" => {
            place.in_text = place.in_text.saturating_sub(1);
            if name == "v" {
                out.space();
            }
        }
        "instrText" => {
            if let Some(target) = place.instruction.take().as_deref().and_then(field_target) {
                link(target, out);
            }
        }
        "hyperlink" => {
            if let Some(Some(target)) = place.links.pop() {
                link(&target, out);
            }
        }
        "p" => out.push("\n"),
        "tc" => {
            // The cell's last paragraph ended the line; the row goes on.
            out.reopen_line();
            out.push("\t");
        }
        "tr" => {
            out.reopen_line();
            out.push("\n");
        }
        _ => {}
    }
}

fn link(target: &str, out: &mut TextOut) {
    out.push(" <");
    out.push(target);
    out.push("> ");
}

/// The target in a field instruction that makes a link.
fn field_target(instruction: &str) -> Option<&str> {
    let rest = instruction.trim_start().strip_prefix("HYPERLINK")?;
    let (_, quoted) = rest.split_once('"')?;
    quoted.split('"').next().filter(|target| !target.is_empty())
}
