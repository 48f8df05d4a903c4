//! Broken workflow files and everything that is said about each: one line a mistake, the hint in
//! brackets.

/// A file, and what is said about it.
pub(super) const BROKEN: &[(&str, &str)] = &[
    ("", "1:1 E1005: the file is empty"),
    ("just text", "1:1 E1005: a workflow should be a map, not text"),
    (
        r##"- a
- b"##,
        "1:1 E1005: a workflow should be a map, not a list",
    ),
    (
        r##"name: x
name: y"##,
        "2:1 E1001: the key `name` stands twice in the same map",
    ),
    ("name: [x", "1:7 E1001: unclosed bracket `[`"),
    (
        r##"name: x
---
name: y"##,
        "3:1 E1001: a second document begins here [a file holds one workflow]",
    ),
    (
        r##"nam: x
steps: []
colour: red"##,
        r##"1:1 E1003: unknown key `nam` in a workflow [did you mean `name`?]
1:1 E1004: the workflow has no `name`
2:8 E1004: the workflow has no steps
3:1 E1003: unknown key `colour` in a workflow [it can have `name`, `description`, `inputs`, `steps`, `outputs`]"##,
    ),
    (
        r##"name: x
steps:
  - id: a
    op: file.scan
    with: { folder: x }
  - id: b
    op: zzz
  - op: files.scan
  - id: d"##,
        r##"4:9 E1006: unknown operation `file.scan` [did you mean `files.scan`?]
7:9 E1006: unknown operation `zzz` [`tidegate ops` lists what there is]
8:5 E1004: step 3 has no `id`
8:5 E1007: step 3 lacks `folder`, which `files.scan` needs: a path [the folder to look through]
9:5 E1004: `d` has no `op`"##,
    ),
    (
        r##"name: x
steps:
  - id: a
    op: files.scan
  - id: b
    op: library.match
    with: { txt: x, limit: 99, mode: nea, tags: [1, a], exact: yes, zzz: 1 }"##,
        r##"3:5 E1007: `a` lacks `folder`, which `files.scan` needs: a path [the folder to look through]
7:5 E1007: `b` lacks `text`, which `library.match` needs: text [what to look for]
7:13 E1008: `library.match` has no input `txt` [did you mean `text`?]
7:28 E1009: `limit` of `b` should be an integer from 1 to 50, not `99`
7:38 E1009: `mode` of `b` should be one of `exact`, `near`, not `nea` [did you mean `near`?]
7:50 E1009: `[0]` in `tags` of `b` should be text, not `1` [put quotes around it]
7:64 E1009: `exact` of `b` should be `true` or `false`, not `yes`
7:69 E1008: `library.match` has no input `zzz` [it takes `text`, `limit`, `mode`, `tags`, `exact`]"##,
    ),
    (
        r##"name: x
steps:
  - id: Bad Id
    op: files.scan
    with: { folder: x }
  - id: item
    op: files.scan
    with: { folder: x }
  - id: item
    op: files.scan
    with: { folder: x }
  - id: in
    op: files.scan
    with: { folder: x }"##,
        r##"3:9 E1010: `Bad Id` cannot be a step's id [a small letter, then at most 39 small letters, digits, `_` and `-`]
6:9 E1010: `item` cannot be a step's id [`inputs`, `item`, `index`, `run` have a meaning of their own in expressions]
9:9 E1010: `item` cannot be a step's id [`inputs`, `item`, `index`, `run` have a meaning of their own in expressions]
9:9 E1015: `item` is the id of two steps [the first one is in line 6]
12:9 E1010: `in` cannot be a step's id [expressions keep this word for themselves]"##,
    ),
    (
        r##"name: x
inputs:
  folder: { type: path }
steps:
  - id: scan
    op: files.scan
    with: { folder: "${inputs.foldr}" }
  - id: extract
    op: text.extract
    needs: [scn]
    each: "${scan.file}"
    with: { file: "${itm}" }
  - id: match
    op: library.match
    with: { text: "${extract.text} ${item} ${folder}" }
outputs:
  brief: "${writ.path}"
  other: "${extract[index]}""##,
        r##"7:24 E1016: there is no input `foldr` [did you mean `folder`?]
10:13 E1016: there is no step `scn` [did you mean `scan`?]
11:14 E1020: `scan.file`: there is no `file` in this output [did you mean `files`?]
12:22 E1016: there is no step `itm` [did you mean `item`?]
15:22 E1020: `extract.text`: `extract` runs once for each item, so that its output is a list [`extract[index].text` is the current item's, `extract.map(x, x.text)` all of them]
15:38 E1018: `item` means nothing outside of a step with `each`
15:46 E1016: there is no step `folder` [did you mean `inputs.folder`?]
17:13 E1016: there is no step `writ`
18:13 E1018: `index` means nothing outside of a step with `each`"##,
    ),
    (
        r##"name: x
steps:
  - id: a
    op: files.scan
    with: { folder: "${c.files[0].path}" }
  - id: b
    op: files.scan
    with: { folder: "${a.files[0].path}" }
  - id: c
    op: files.scan
    needs: [b]
    with: { folder: x }
  - id: d
    op: files.scan
    needs: d
    with: { folder: "${d.files}" }"##,
        r##"3:9 E1019: these steps wait for each other: a → c → b → a
15:12 E1017: `d` waits for itself
16:24 E1017: `d` waits for itself"##,
    ),
    (
        r##"name: x
steps:
  - id: a
    op: files.scan
    with:
      folder: "${ 1 + }"
  - id: b
    op: library.match
    with:
      text: |
        first line
        second ${lowr('x')} and ${'open
  - id: c
    op: library.match
    with: { text: 'it''s ${a ~ b}' }
    when: size(a.files) > 0
  - id: d
    op: library.match
    with: { text: x, limit: "n ${a.files}" }
    each: "x ${a.files}""##,
        r##"6:23 E1014: expected a value, found the end
12:18 E1014: unknown function `lowr` [did you mean `lower`?]
12:35 E1014: a text is not closed
15:19 E1014: unexpected character `~`
16:11 E1005: `when` should be one expression [write `when: "${size(step.list) > 0}"`]
19:29 E1009: `limit` of `d` should be an integer from 1 to 50, not text around an expression [an expression keeps its type only if nothing stands around its `${…}`]
20:11 E1005: `each` should be a list or an expression that gives one, not text [write `each: "${step.list}"`]"##,
    ),
    (
        r##"name: x
steps:
  - id: a
    op: files.scan
    with: { folder: x }
    place: moon
    timeout: 5
    retry: { attempts: 99, backoff: 1 day }
  - id: b
    op: files.scan
    with: { folder: x }
    place: { at: remot, prefer: speed, deadline: 0s, offline: wait, why: x }
    each: { in: [1, 2], concurrency: 1000 }
  - id: c
    op: files.scan
    with: { folder: x }
    each: { concurrency: 3 }
  - id: d
    op: files.scan
    with: { folder: x }
    each: 5"##,
        r##"6:12 E1011: `place` cannot be `moon` [it can be `local`, `remote`, `auto`]
7:14 E1013: `timeout` should be a time like `250ms`, `2s`, `5m` or `1h` [a whole number and its unit, at most a year]
8:24 E1012: `attempts` should be an integer from 1 to 20
8:37 E1013: `backoff` should be a time like `250ms`, `2s`, `5m` or `1h` [a whole number and its unit, at most a year]
12:18 E1011: `at` cannot be `remot` [did you mean `remote`?]
12:33 E1011: `prefer` cannot be `speed` [it can be `fastest`, `cheapest`, `private`]
12:50 E1013: `deadline` should be a time like `250ms`, `2s`, `5m` or `1h` [longer than nothing]
12:69 E1003: unknown key `why` in `place` [it can have `at`, `prefer`, `deadline`, `offline`]
13:38 E1012: `concurrency` should be an integer from 1 to 256
17:11 E1004: `each` has no `in`
21:11 E1005: `each` should be a list or an expression that gives one, not a number"##,
    ),
    (
        r##"name: x
steps:
  - id: fetch-mail
    op: files.scan
    with: { folder: x }
  - id: b
    op: files.scan
    with: { folder: "${fetch-mail.files[0].path}" }
    each: "${run.folder}""##,
        r##"8:24 E1016: there is no step `fetch` [`-` means minus in an expression: call the step `fetch_mail` instead of `fetch-mail`]
8:24 E1016: there is no step `mail`
9:14 E1016: `run.folder`: a run has no such member [there are `run.id` and `run.outputs`, the folder for what it writes]"##,
    ),
    (
        r##"name: x
inputs:
  a: { type: integer }
  b: { type: int, default: x }
  C: { type: int, default: "${item}" }
  d: 5
  e: { default: 1 }
  f: { type: int, default: 1.5 }
steps:
  - id: s
    op: files.scan
    with: { folder: x }
    each: "${inputs.b}""##,
        r##"3:14 E1011: `type` cannot be `integer` [it can be `text`, `path`, `int`, `number`, `bool`, `json`]
4:28 E1009: the default of `b` should be an integer from -9007199254740991 to 9007199254740991, not `x`
5:3 E1010: `C` cannot be an input's name [a small letter, then at most 39 small letters, digits, `_` and `-`]
5:28 E1009: the default of `C` has an expression inside; nothing could be read there yet
6:6 E1005: the input `d` should be a map, not a number
7:6 E1004: the input `e` has no `type`
8:28 E1009: the default of `f` should be an integer from -9007199254740991 to 9007199254740991, not `1.5`
13:14 E1009: `each` goes over a list, and `inputs.b` is an integer from -9007199254740991 to 9007199254740991"##,
    ),
    (
        r##"name: x
steps:
  - id: s
    op: files.scan
    with: [1]
  - id: t
    op: files.scan
    with: "${s}"
  - 5"##,
        r##"5:11 E1005: `with` should be a map, not a list
9:5 E1005: a step should be a map, not a number"##,
    ),
    (
        r##"name: 5
steps: {}"##,
        r##"1:7 E1005: `name` should be text, not a number
2:8 E1005: `steps` should be a list, not a map"##,
    ),
    (
        r##"name: x
steps:
  - id: s
    op: text.extract
    with: { file: { path: 1, siz: 3 } }
"##,
        r##"5:19 E1009: `size` in `file` of `s` should be an integer of at least 0, not left out
5:27 E1009: `path` in `file` of `s` should be a path, not `1` [put quotes around it]
5:30 E1009: `file` of `s` should be a map of `path`, `size`, not `siz` [did you mean `size`?]"##,
    ),
    (
        r##"name: x
steps: &a [*a]"##,
        "2:12 E1001: an alias stands inside of what it refers to",
    ),
    (
        r##"name: x
steps: *b"##,
        "2:8 E1001: alias references unknown anchor",
    ),
    ("name: x\nsteps:\n\t- id: a", "3:2 E1001: tabs disallowed within this context (block indentation)"),
    ("name: \"x\u{1}y\"", "1:9 E1002: the file holds control characters; it is not a workflow"),
];
