//! Where things lie on disk.

use crate::exit::Failed;
use std::path::{Path, PathBuf};

/// The data folder: `--data`, else `$XDG_DATA_HOME/tidegate`, else `~/.local/share/tidegate`.
pub fn data(asked: Option<&Path>) -> Result<PathBuf, Failed> {
    let folder = match asked {
        Some(folder) => folder.to_owned(),
        None => {
            let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
            let base = set("XDG_DATA_HOME").filter(|p| p.is_absolute());
            let base = base.or_else(|| set("HOME").map(|home| home.join(".local/share")));
            base.map(|base| base.join("tidegate"))
                .ok_or_else(|| Failed::new("E2008", "neither `--data` nor $HOME says where the data folder is"))?
        }
    };
    absolute(&folder)
}

/// The device's side of a data folder.
pub fn device(data: &Path) -> PathBuf {
    data.join("device")
}

/// The hub's side of a data folder.
pub fn hub(data: &Path) -> PathBuf {
    data.join("hub")
}

/// What workflows write.
pub fn outputs(data: &Path) -> PathBuf {
    data.join("outputs")
}

/// An absolute path, without asking whether it exists.
pub fn absolute(path: &Path) -> Result<PathBuf, Failed> {
    std::path::absolute(path).map_err(|e| Failed::new("E2008", format!("`{}`: {e}", path.display())))
}
