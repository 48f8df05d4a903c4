//! A18 and its kin: a folder with hostile files in it. The others are read all the same.

use crate::documents;
use crate::harness::{Place, brief_workflow};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[test]
fn a18_hostile_files_do_not_keep_the_others_out_of_the_brief() {
    let place = Place::new();
    let own = place.make("own");
    let put = |name: &str, content: &[u8]| std::fs::write(own.join(name), content).unwrap();
    for no in 0..5 {
        put(
            &format!("good-{no}.txt"),
            format!("Good file number {no} speaks of damp walls. It is plain.\n").as_bytes(),
        );
    }
    put("bomb.docx", &documents::zip_bomb());
    put("cut.pdf", &documents::cut_pdf());
    let deep = 100_000;
    put(
        "deep.html",
        format!("<html><body>{}deep{}</body></html>", "<div>".repeat(deep), "</div>".repeat(deep)).as_bytes(),
    );
    put("empty.txt", b"");
    put("empty.docx", b"");
    put("noise.bin", &documents::noise(20 << 20));
    put("noise.pdf", &documents::noise(1 << 20));
    put("line\nbreak.txt", b"The name of this file has a line break in it. It can be read.\n");
    put("\u{202e}txt.\u{200b}\u{1F30A}e\u{301}.txt", b"The name of this file is odd. It can be read.\n");
    let secret = place.write("outside/secret.txt", "The outsider sentence stands outside of the folder.\n");
    std::os::unix::fs::symlink(&secret, own.join("link.txt")).unwrap();
    std::os::unix::fs::symlink(place.path("outside"), own.join("linked-folder")).unwrap();
    std::os::unix::fs::symlink("link-to-itself.txt", own.join("link-to-itself.txt")).unwrap();
    mknodat(CWD, own.join("pipe.txt"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    std::fs::write(own.join(std::ffi::OsStr::from_bytes(b"not-\xff\xfe-utf8.txt")), b"Its name is no UTF-8.\n")
        .unwrap();
    let locked = !rustix::process::geteuid().is_root();
    if locked {
        put("locked.txt", b"Nobody may read this.\n");
        let none = std::os::unix::fs::PermissionsExt::from_mode(0o0);
        std::fs::set_permissions(own.join("locked.txt"), none).unwrap();
    }

    let set = format!("folder={}", own.display());
    let ended = place.run(&brief_workflow(), &["--set", &set]).expect_code(0);
    let finished = ended.last();
    assert_eq!(finished["status"], "succeeded");
    let path = Path::new(finished["outputs"]["brief"]["path"].as_str().unwrap());
    let text = std::fs::read_to_string(path).unwrap();
    for no in 0..5 {
        assert!(text.contains(&format!("## good-{no}.txt")), "{text}");
    }
    for words in ["has a line break in it", "is odd. It can be read"] {
        assert!(text.contains(words), "`{words}` is missing in {text}");
    }
    assert!(!text.contains("outsider sentence"), "links that lead out are not followed");
    let failed: Vec<&str> = finished["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["op"] == "text.extract" && step["status"] == "failed")
        .map(|step| step["error"]["message"].as_str().unwrap_or_default())
        .collect();
    for name in ["bomb.docx", "cut.pdf", "noise.bin", "noise.pdf"] {
        assert!(failed.iter().any(|message| message.contains(name)), "{name} is told of: {failed:#?}");
    }
    assert!(!locked || failed.iter().any(|message| message.contains("locked.txt")), "{failed:#?}");
    // No heading has been torn apart by a name.
    let headings = text.lines().filter(|line| line.starts_with("## ")).count();
    assert_eq!(
        headings,
        finished["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|s| s["id"] == "section" && s["status"] == "succeeded")
            .count(),
        "{text}"
    );
}
