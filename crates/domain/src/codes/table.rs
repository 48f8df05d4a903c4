//! The table of error codes, sorted. 1xxx: files and flags; 2xxx: the data folder and the
//! programs' life; 3xxx: policy; 4xxx: runs; 5xxx: operations; 6xxx: the session.

use super::Code;

const fn code(code: &'static str, word: &'static str, meaning: &'static str, remedy: &'static str) -> Code {
    Code { code, word, meaning, remedy }
}

/// Every code there is.
pub const CODES: &[Code] = &[
    code("E2001", "folder-in-use", "another process owns this data folder", "use that process (`tidegate dev` answers commands on its folder), stop it, or choose another folder with `--data`"),
    code("E2002", "store-failed", "the journal could not be written or read", "see the message for the cause; free space or mend the disk, then start tidegate again: it goes on where the journal ends"),
    code("E2003", "store-corrupt", "stored bytes are not what was written", "restore a backup of the data folder; `tidegate audit verify` names the first bad entry"),
    code("E2004", "not-running", "no node answers for this data folder", "start one with `tidegate dev`, or run a workflow, which starts its own"),
    code("E2005", "start-failed", "a hub or node process did not start or stopped three times", "run the command again with `--verbose`; `tidegate doctor` checks what it needs"),
    code("E2006", "internal", "tidegate met a state it should not be able to reach", "please report it with the command and the message; the journal is intact"),
    code("E2007", "not-found", "there is no such run, step or file", "list what there is with `tidegate runs` or look at the path again"),
    code("E2008", "usage", "the command line does not fit together", "see `tidegate help` and the command's `--help`"),
    code("E3001", "refused", "a policy forbids what the step needs, everywhere it could run", "`tidegate explain RUN STEP` names the rule; if redacted text of the folder may go to the hub, run with `--allow-redacted`"),
    code("E3002", "policy-invalid", "a policy, its signature or its version is not acceptable", "restore the file named in the message, or remove the folder's policies to start from the defaults"),
    code("E3003", "policy-changed", "the policy changed while bytes were waiting to leave", "nothing to do: they are judged again before they leave"),
    code("E4001", "expression-failed", "an expression in the workflow could not be evaluated", "the message names the expression; check the types it works on, `tidegate check WORKFLOW` helps"),
    code("E4002", "input-missing", "a step needs the output of another one that has none", "look at that step first: `tidegate explain RUN`"),
    code("E4003", "wrong-type", "a value has another type than the workflow needs there", "compare the step's declaration in `tidegate ops` with what the workflow gives it"),
    code("E4004", "too-many-items", "a fan-out is larger than its limit", "split the list over several steps or runs"),
    code("E4005", "unknown-effect", "an effect was begun and nobody can know whether it happened", "look at the sink yourself; the step is never repeated silently"),
    code("E4006", "cancelled", "the run was cancelled", "start it again if you want its result"),
    code("E4007", "not-needed", "the step's condition is false", "nothing to do"),
    code("E4008", "waiting", "the step waits for a site that is away", "start that site or wait; `tidegate resume RUN` goes on"),
    code("E4009", "no-site", "no site can run this operation as asked", "`tidegate explain RUN STEP` says what excludes each site"),
    code("E4010", "timed-out", "an attempt took longer than its limit", "raise `timeout` in the workflow or give the operation less to do"),
    code("E4011", "site-lost", "the site that ran the attempt went away", "pure and reading steps are tried again; see `retry`"),
    code("E5001", "input-invalid", "an operation cannot work on the input it was given", "the message says which member is wrong"),
    code("E5002", "outside-workspace", "a path leads out of the folder that the workflow was given", "use paths below that folder; links that lead out are not followed"),
    code("E5003", "file-unreadable", "a file could not be read", "check that it exists and that you may read it"),
    code("E5004", "file-changed", "a file to be written changed meanwhile", "look at both versions; run again if the new content should replace it"),
    code("E5005", "unsupported-format", "no extractor reads this kind of file", "supported: txt, md, html, csv, json, eml, pdf, docx"),
    code("E5006", "document-damaged", "a document could not be understood", "open it in the program that made it and save it again"),
    code("E5007", "sandbox-failed", "the confined child process stopped or passed one of its limits", "the file is too large or hostile; `tidegate doctor` shows the limits in force"),
    code("E5008", "too-large", "an input or output passes a limit", "the message names the limit"),
    code("E5009", "write-failed", "a file could not be written", "check the folder's permissions and free space"),
    code("E5010", "operation-panicked", "an operation stopped unexpectedly", "please report it; the run goes on without this step"),
    code("E5011", "library-missing", "the hub has no document library", "give the hub one with `--library DIR`"),
    code("E6001", "session-failed", "the connection between node and hub could not be made", "check that both run; `tidegate doctor` tells"),
    code("E6002", "peer-refused", "the other side does not accept this certificate or version", "start both sides from the same data folder and program version"),
];
