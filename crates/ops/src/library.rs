//! The hub's document library: an index over texts that the hub holds and does not give away.
//!
//! Documents are Markdown files below one folder, read when the hub starts: a `# Title`, an
//! optional `Topics:` line, and text. Ranking is BM25 (Robertson and Zaragoza 2009) over words.
//! The index is `confidential` on the hub; what `library.match` tells of it is decided by the hub's
//! own gate.
//!
//! Not here: search at scale; past a few thousand documents SQLite's full-text index is the way.

use crate::builtin::text_summarize::words;
use std::collections::HashMap;
use std::path::Path;
use tidegate_domain::label::{Label, Level};

/// A document larger than this is passed over.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;
/// Documents beyond this number are passed over.
const DOCUMENTS_MAX: usize = 5_000;
/// BM25's saturation of term frequency.
const K1: f64 = 1.2;
/// BM25's weight of document length.
const B: f64 = 0.75;

/// A document of the library.
struct Document {
    title: String,
    topics: String,
    length: f64,
}

/// The index.
#[derive(Default)]
pub struct Library {
    documents: Vec<Document>,
    postings: HashMap<String, Vec<(u32, f64)>>,
    mean_length: f64,
}

/// A document that matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Its title.
    pub title: String,
    /// Its topics.
    pub topics: String,
    /// BM25's score, larger is better.
    pub score: f64,
    /// Words of the query that it holds, the most telling first, at most five.
    pub shared: Vec<String>,
}

impl Library {
    /// Reads every Markdown file below `folder`; what cannot be read is passed over.
    pub fn load(folder: &Path) -> std::io::Result<Self> {
        let mut paths = Vec::new();
        let mut pending = vec![folder.to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(&dir)?.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                let path = entry.path();
                if kind.is_dir() {
                    pending.push(path);
                } else if kind.is_file() && path.extension().is_some_and(|e| e == "md") {
                    paths.push(path);
                }
            }
        }
        paths.sort();
        paths.truncate(DOCUMENTS_MAX);
        let mut library = Library::default();
        for path in paths {
            if std::fs::metadata(&path)?.len() <= DOCUMENT_BYTES_MAX
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                library.add(&text);
            }
        }
        library.settle();
        Ok(library)
    }

    /// An index over these texts.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut library = Library::default();
        texts.into_iter().for_each(|text| library.add(text));
        library.settle();
        library
    }

    fn add(&mut self, text: &str) {
        let title = text.lines().find_map(|l| l.strip_prefix("# ")).unwrap_or("untitled").trim().to_owned();
        let topics = text.lines().find_map(|l| l.strip_prefix("Topics:")).unwrap_or_default().trim().to_owned();
        let number = self.documents.len() as u32;
        let mut counts: HashMap<String, f64> = HashMap::new();
        let mut length = 0.0;
        for word in words(text) {
            length += 1.0;
            *counts.entry(word).or_default() += 1.0;
        }
        for (word, count) in counts {
            self.postings.entry(word).or_default().push((number, count));
        }
        self.documents.push(Document { title, topics, length });
    }

    fn settle(&mut self) {
        let total: f64 = self.documents.iter().map(|d| d.length).sum();
        self.mean_length = (total / self.documents.len().max(1) as f64).max(1.0);
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// What the index itself is labelled.
    pub fn label(&self) -> Label {
        Label::of(Level::Confidential)
    }

    /// The best `limit` documents for a text.
    pub fn find(&self, text: &str, limit: usize) -> Vec<Match> {
        let mut query: Vec<String> = words(text).collect();
        query.sort_unstable();
        query.dedup();
        let count = self.documents.len() as f64;
        /// A document's score, and what each word of the query gave to it.
        type Score<'q> = (f64, Vec<(f64, &'q str)>);
        let mut scores: HashMap<u32, Score<'_>> = HashMap::new();
        for word in &query {
            let Some(postings) = self.postings.get(word) else { continue };
            let holding = postings.len() as f64;
            let weight = (1.0 + (count - holding + 0.5) / (holding + 0.5)).ln();
            for (number, frequency) in postings {
                let length = self.documents[*number as usize].length;
                let saturated = frequency * (K1 + 1.0) / (frequency + K1 * (1.0 - B + B * length / self.mean_length));
                let entry = scores.entry(*number).or_default();
                entry.0 += weight * saturated;
                entry.1.push((weight * saturated, word));
            }
        }
        let mut ranked: Vec<_> = scores.into_iter().collect();
        ranked.sort_by(|a, b| b.1.0.total_cmp(&a.1.0).then(a.0.cmp(&b.0)));
        ranked.truncate(limit);
        ranked
            .into_iter()
            .map(|(number, (score, mut shared))| {
                shared.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
                let document = &self.documents[number as usize];
                Match {
                    title: document.title.clone(),
                    topics: document.topics.clone(),
                    score: (score * 1_000.0).round() / 1_000.0,
                    shared: shared.into_iter().take(5).map(|(_, word)| word.to_owned()).collect(),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_about_it_comes_first() {
        let library = Library::of([
            "# Late payment\nTopics: invoices, money\n\nAn overdue invoice gets a reminder after two weeks.",
            "# Damp\nTopics: survey\n\nMeasure damp in walls with a meter, twice.",
            "# Drones\n\nFly only in daylight.",
        ]);
        let found = library.find("Reminder: your invoice is overdue since two weeks, the damp survey too", 2);
        assert_eq!((found[0].title.as_str(), found[0].topics.as_str()), ("Late payment", "invoices, money"));
        assert_eq!(found[1].title, "Damp");
        assert!(found[0].score > found[1].score && found[0].shared.contains(&"invoice".to_owned()));
        assert!(library.find("zzz", 3).is_empty());
    }
}
