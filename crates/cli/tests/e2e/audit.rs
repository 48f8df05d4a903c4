//! I2: nothing left without an entry, and the log notices when it is changed.

use crate::harness::{Place, brief_workflow};
use crate::oracle::Record;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;

fn digest(bytes: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(bytes).to_hex())
}

#[test]
fn i02_every_payload_on_the_wire_has_its_entry_in_both_logs() {
    let place = Place::new();
    let record = place.path("record");
    let finished = place.run(&brief_workflow(), &["--record", record.to_str().unwrap()]).expect_code(0).last();
    let run = finished["run"].as_str().unwrap();
    let payloads = Record::read(&record).payloads();
    assert!(!payloads.is_empty());
    let on_the_wire: BTreeSet<String> = payloads.iter().map(|p| digest(p)).collect();
    let bytes: u64 = payloads.iter().map(|p| p.len() as u64).sum();

    let device = place.tidegate(&["audit", "--json"]).expect_code(0).lines();
    let out: Vec<&Json> = device.iter().filter(|e| e["kind"] == "transfer" && e["direction"] == "out").collect();
    let logged: BTreeSet<String> = out.iter().map(|e| e["digest"].as_str().unwrap().to_owned()).collect();
    let missing: Vec<&String> = on_the_wire.difference(&logged).collect();
    assert!(missing.is_empty(), "payloads without an entry on the device: {missing:?}");
    assert!(out.len() >= payloads.len());
    assert!(out.iter().map(|e| e["bytes"].as_u64().unwrap()).sum::<u64>() >= bytes);
    for entry in &out {
        assert_eq!(entry["verdict"], "allow", "{entry}");
        assert!(entry["rule"].as_str().is_some_and(|rule| rule.contains('/')), "{entry}");
        assert_eq!(entry["run"], run, "{entry}");
        assert!(entry["label"]["level"].is_string() && entry["to"].is_string() && entry["from"].is_string(), "{entry}");
        assert!(["intent", "sent", "possibly_sent"].iter().any(|s| entry["state"] == *s), "{entry}");
    }

    let hub = place.tidegate(&["audit", "--side", "hub", "--json"]).expect_code(0).lines();
    let arrived: BTreeSet<String> = hub
        .iter()
        .filter(|e| e["kind"] == "transfer" && e["direction"] == "in")
        .map(|e| e["digest"].as_str().unwrap().to_owned())
        .collect();
    assert!(on_the_wire.is_subset(&arrived), "the hub logs what it received");

    for entries in [&device, &hub] {
        for (at, entry) in entries.iter().enumerate() {
            assert_eq!(entry["seq"], at as u64 + 1, "numbers without gaps");
            if at > 0 {
                assert_eq!(entry["prev"], entries[at - 1]["hash"], "one chain");
            }
        }
    }
    let of_run = place.tidegate(&["audit", "--run", run, "--json"]).expect_code(0).lines();
    assert!(!of_run.is_empty() && of_run.iter().all(|e| e["run"] == run));
}

#[test]
fn a20_verifying_passes_whole_logs_and_names_the_entry_that_was_changed() {
    let place = Place::new();
    place.run(&brief_workflow(), &[]).expect_code(0);
    let mut entries = Vec::new();
    for side in ["device", "hub"] {
        let verified = place.tidegate(&["audit", "verify", "--side", side, "--json"]).expect_code(0).last();
        assert_eq!(verified["type"], "audit.verified");
        assert!(verified["head"].as_str().unwrap().starts_with("blake3:"));
        entries.push(verified["entries"].as_u64().unwrap());
    }
    for (side, entries) in ["device", "hub"].into_iter().zip(entries) {
        for seq in [1, entries / 2, entries] {
            let copy = Place::new();
            copy_folder(&place.data(), &copy.data());
            flip_a_byte_of_entry(&copy.data().join(side).join("journal.db"), seq);
            let ended = copy.tidegate(&["audit", "verify", "--side", side, "--json"]).expect_code(1);
            let error = ended.last();
            assert_eq!(error["type"], "error");
            assert_eq!(error["code"], "store-corrupt", "{error}");
            assert_eq!(error["seq"], seq, "the entry is named: {error}");
        }
    }
}

#[test]
fn a20_an_entry_cut_off_the_end_of_a_log_is_noticed() {
    let place = Place::new();
    place.run(&brief_workflow(), &[]).expect_code(0);
    let db = rusqlite::Connection::open(place.device().join("journal.db")).unwrap();
    db.execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)", []).unwrap();
    drop(db);
    let error = place.tidegate(&["audit", "verify", "--json"]).expect_code(1).last();
    assert_eq!(error["code"], "store-corrupt", "{error}");
}

/// In the file itself, below SQLite, which has no checksums of its own.
fn flip_a_byte_of_entry(db: &Path, seq: u64) {
    let connection = rusqlite::Connection::open(db).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let body: Vec<u8> =
        connection.query_row("SELECT body FROM audit WHERE seq = ?", [seq as i64], |row| row.get(0)).unwrap();
    drop(connection);
    let mut file = std::fs::read(db).unwrap();
    // The first bytes are enough to find it, also where it goes on in another page.
    let start = &body[..body.len().min(60)];
    let at = file.windows(start.len()).position(|w| w == start).expect("the entry stands in the file as it is");
    file[at + start.len() / 2] ^= 0x10;
    std::fs::write(db, file).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
