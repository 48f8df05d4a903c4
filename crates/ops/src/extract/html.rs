//! HTML: the text a reader could see, and what is written for readers who
//! cannot see.
//!
//! Job: text in document order, one line per block, cells apart; titles,
//! descriptions, alternative texts, values of visible fields, mail and telephone
//! links. Scripts, styles and comments are left out.
//!
//! Not its job: layout, style (text hidden by a style sheet is kept), frames.
//! It works on the tokenizer's flat stream and builds no tree, so nesting costs
//! nothing: a hundred thousand levels are a hundred thousand tokens.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::text::TextOut;
use super::{Found, charset};

/// How much is given to the tokenizer at a time, so that a full output stops it.
const FEED_BYTES: usize = 64 * 1024;

/// Elements that start and end a line. Anything unknown is inline.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "caption",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "iframe",
    "legend",
    "li",
    "listing",
    "main",
    "menu",
    "nav",
    "noscript",
    "ol",
    "optgroup",
    "option",
    "p",
    "plaintext",
    "pre",
    "search",
    "section",
    "select",
    "summary",
    "table",
    "tbody",
    "template",
    "textarea",
    "tfoot",
    "thead",
    "title",
    "tr",
    "ul",
    "xmp",
];

/// Elements in which white space counts.
const PREFORMATTED: &[&str] = &["pre", "textarea", "listing", "xmp", "plaintext"];

/// Attributes whose text is for people.
const SPOKEN: &[&str] = &["alt", "title", "aria-label", "aria-description", "placeholder", "summary", "label"];

/// Descriptions in a page's head that are for people.
const DESCRIPTIONS: &[&str] = &[
    "description",
    "keywords",
    "author",
    "og:title",
    "og:description",
    "og:site_name",
    "twitter:title",
    "twitter:description",
    "twitter:image:alt",
];

/// Reads an HTML file.
pub(super) fn read(bytes: &[u8], out: &mut TextOut) -> Found {
    let title = read_into(&charset::decode_markup(bytes), out);
    Found { title, parts: 1, unreadable: 0 }
}

/// Appends the text of `html` and returns its title.
pub(super) fn read_into(html: &str, out: &mut TextOut) -> Option<String> {
    out.end_line();
    let reader =
        Reader(RefCell::new(State { out, skipped: None, preformatted: 0, title: None, in_title: false, gap: false }));
    let tokenizer = Tokenizer::new(reader, TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = html;
    while !rest.is_empty() && !tokenizer.sink.0.borrow().out.is_full() {
        let cut = (1..=FEED_BYTES.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(cut);
        queue.push_back(StrTendril::from(part));
        let _ = tokenizer.feed(&queue);
        rest = tail;
    }
    tokenizer.end();
    let state = tokenizer.sink.0.into_inner();
    state.out.end_line();
    state.title
}

struct Reader<'a>(RefCell<State<'a>>);

struct State<'a> {
    out: &'a mut TextOut,
    /// The script or style element whose content is being left out.
    skipped: Option<&'static str>,
    /// How many preformatted elements are open.
    preformatted: u32,
    title: Option<String>,
    in_title: bool,
    /// White space was seen and is owed before the next word.
    gap: bool,
}

impl TokenSink for Reader<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => state.text(&text),
            Token::NullCharacterToken => state.text("\u{fffd}"),
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => return state.start(&tag),
            Token::TagToken(tag) => state.end(&tag.name),
            Token::CommentToken(_) | Token::DoctypeToken(_) | Token::ParseError(_) | Token::EOFToken => {}
        }
        TokenSinkResult::Continue
    }

    /// Marked sections are taken for text everywhere; a browser shows them in
    /// foreign content and hides them elsewhere, and showing loses nothing.
    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        true
    }
}

impl State<'_> {
    fn text(&mut self, text: &str) {
        if self.skipped.is_some() {
            return;
        }
        if self.in_title {
            self.title.get_or_insert_default().push_str(text.get(..4096).unwrap_or(text));
        }
        if self.preformatted > 0 {
            self.pay_gap();
            self.out.push(text);
            return;
        }
        let space = |found: char| matches!(found, ' ' | '\t' | '\n' | '\r' | '\u{c}');
        for (at, word) in text.split(space).enumerate() {
            self.gap |= at > 0;
            if !word.is_empty() {
                self.pay_gap();
                self.out.push(word);
            }
        }
    }

    fn pay_gap(&mut self) {
        if std::mem::take(&mut self.gap) {
            self.out.space();
        }
    }

    fn new_line(&mut self) {
        self.gap = false;
        self.out.end_line();
    }

    /// Writes text that stands in an attribute, set apart from its surroundings.
    fn aside(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.pay_gap();
            self.out.space();
            self.out.push(text.trim());
            self.gap = true;
        }
    }

    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        if BLOCKS.contains(&name) {
            self.new_line();
        }
        if matches!(name, "td" | "th") {
            self.cell();
        }
        self.attributes(tag);
        if PREFORMATTED.contains(&name) && !tag.self_closing {
            self.preformatted = self.preformatted.saturating_add(1);
        }
        match name {
            "title" if !tag.self_closing => {
                self.in_title = self.title.is_none();
                TokenSinkResult::RawData(RawKind::Rcdata)
            }
            "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
            "script" if !tag.self_closing => {
                self.skipped = Some("script");
                TokenSinkResult::RawData(RawKind::ScriptData)
            }
            "style" if !tag.self_closing => {
                self.skipped = Some("style");
                TokenSinkResult::RawData(RawKind::Rawtext)
            }
            "xmp" => TokenSinkResult::RawData(RawKind::Rawtext),
            "plaintext" => TokenSinkResult::Plaintext,
            _ => TokenSinkResult::Continue,
        }
    }

    fn end(&mut self, name: &str) {
        if self.skipped == Some(name) {
            self.skipped = None;
        }
        if name == "title" {
            self.in_title = false;
        }
        if PREFORMATTED.contains(&name) {
            self.preformatted = self.preformatted.saturating_sub(1);
        }
        if BLOCKS.contains(&name) {
            self.new_line();
        }
    }

    fn cell(&mut self) {
        self.gap = false;
        let text = self.out.since(self.out.len().saturating_sub(1));
        if !text.is_empty() && text != "\n" && text != "\t" {
            self.out.push_char('\t');
        }
    }

    fn attributes(&mut self, tag: &Tag) {
        let value = |wanted: &str| tag.attrs.iter().find(|attr| &*attr.name.local == wanted).map(|attr| &*attr.value);
        match &*tag.name {
            "meta" => {
                let about = value("name").or_else(|| value("property")).unwrap_or_default().to_ascii_lowercase();
                if DESCRIPTIONS.contains(&about.as_str()) {
                    self.new_line();
                    self.aside(value("content").unwrap_or_default());
                    self.new_line();
                }
            }
            "input" | "button" => {
                let kind = value("type").unwrap_or_default().to_ascii_lowercase();
                if kind != "hidden" && kind != "password" {
                    self.aside(value("value").unwrap_or_default());
                }
            }
            _ => {}
        }
        for attr in &tag.attrs {
            let name: &str = &attr.name.local;
            if SPOKEN.contains(&name) {
                self.aside(&attr.value);
            } else if name == "href" && is_address(&attr.value) {
                self.aside(&format!("<{}>", attr.value.trim()));
            }
        }
    }
}

/// Whether a link is itself something that names a person.
fn is_address(link: &str) -> bool {
    let link = link.trim_start();
    ["mailto:", "tel:", "sms:"]
        .iter()
        .any(|scheme| link.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> (Option<String>, String) {
        let mut out = TextOut::new(1 << 20);
        let title = read_into(html, &mut out);
        (title, out.finish(None).0)
    }

    #[test]
    fn what_is_seen_is_there_and_what_runs_is_not() {
        let (title, text) = text(
            "<!doctype html><html><head><title>A &amp; B</title><meta name=Description content='for people'>\
             <style>p { color: red }</style><script>var x = '<p>no</p>';</script></head><body><!-- no -->\
             <h1>Head</h1><p>One  <b>t</b>wo\n three &eacute;</p><pre>a\n  b</pre>\
             <table><tr><th>k<th>v<tr><td>1<td>2</table>\
             <img src=x alt='a picture'> <a href='mailto:ada@example.org' title=write>mail</a>\
             <input value=shown><input type=hidden value=hid><textarea><b></textarea><noscript>plain</noscript>",
        );
        assert_eq!(title.as_deref(), Some("A & B"));
        for part in [
            "A & B\n",
            "for people\n",
            "Head\nOne two three é\n",
            "a\n  b\n",
            "k\tv\n1\t2\n",
            "a picture",
            "<mailto:ada@example.org> write mail",
            "shown",
            "<b>\n",
            "plain",
        ] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        for part in ["no", "red", "hid", "var"] {
            assert!(!text.split_whitespace().any(|word| word == part), "{part:?} in {text:?}");
        }
    }

    #[test]
    fn words_are_joined_and_parted_as_shown() {
        assert_eq!(text("4111<b>1111</b> 1111<i> 1111</i>").1, "41111111 1111 1111\n");
        assert_eq!(text("a<br>b<div>c</div>d<span>e</span>").1, "a\nb\nc\nde\n");
        assert_eq!(text("<svg><text><![CDATA[x<y]]></text></svg>").1, "x<y\n");
    }

    #[test]
    fn broken_markup_is_still_text() {
        assert_eq!(text("a < b <p").1, "a < b\n");
        assert_eq!(text("<script>never closed").1, "");
        assert_eq!(text("").1, "");
    }
}
