//! `stayput keys`: a key's way into the keyring, to its top, and out.
//!
//! No command shows a secret, and none makes a change that logs people out unless it is told to by `--force`.

mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use stayput::{Clock, Keyring, Policy, SystemClock, SystemRandom};
use stayput_core::{Key, KeyChangeError, KeyId};
use stayput_stores::StoreUrl;

use crate::cli::{KeyringArgs, KeysCommand};
use crate::config::Config;
use crate::data_dir::{DataDir, KeyringOrigin};
use crate::failure::Failure;
use crate::keyring_file::{KeyringFile, LockedKeyring};
use crate::sessions;

/// Does what the command says, and tells what to do next.
pub(crate) async fn run(command: KeysCommand) -> Result<(), Failure> {
    let text = match command {
        KeysCommand::New { keyring } => Target::of(keyring)?.add()?,
        KeysCommand::List { keyring } => Target::of(keyring)?.list()?,
        KeysCommand::Promote { id, keyring } => Target::of(keyring)?.promote(id)?,
        KeysCommand::Retire { id, force, keyring } => Target::of(keyring)?.retire(id, force).await?,
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::other("cannot write to standard output").because(error))
}

/// The keyring that a command is about, and what its sessions go by.
struct Target {
    file: KeyringFile,
    /// Unless the keyring's file was named instead.
    data_dir: Option<PathBuf>,
    /// If there is one that we know of.
    store: Option<StoreUrl>,
    policy: Policy,
    /// The arguments that name it, for the commands to come.
    flags: String,
}

impl Target {
    fn of(args: KeyringArgs) -> Result<Self, Failure> {
        let config = Config::load(args.config.as_deref())?;
        let flags = text::flags(&args);
        let policy = config.policy;
        if let Some(file) = args.keyring {
            return Ok(Self {
                file: KeyringFile::new(file),
                data_dir: None,
                store: config.store,
                policy,
                flags,
            });
        }
        let data_dir = args.data_dir.unwrap_or(config.data_dir);
        let file = KeyringFile::new(DataDir::keyring_path_in(&data_dir));
        let embedded = DataDir::store_url(&data_dir);
        let store = config.store.or_else(|| DataDir::holds_store(&data_dir).then_some(embedded));
        Ok(Self { file, data_dir: Some(data_dir), store, policy, flags })
    }

    fn add(&self) -> Result<String, Failure> {
        if !self.file.exists() && self.make()? == KeyringOrigin::Made {
            return Ok(text::made(&self.file, &self.file.parse()?));
        }
        let (locked, mut keyring) = self.open()?;
        let key = Key::generate(&SystemRandom);
        let id = key.id();
        keyring.add(key, SystemClock.now()).map_err(|error| self.refused(error))?;
        locked.replace(&keyring)?;
        Ok(text::added(id, &self.file, &keyring, &self.flags))
    }

    fn list(&self) -> Result<String, Failure> {
        self.must_exist()?;
        Ok(text::table(&self.file.parse()?, SystemClock.now(), self.longest()))
    }

    fn promote(&self, id: KeyId) -> Result<String, Failure> {
        let (locked, mut keyring) = self.open()?;
        let former = keyring.primary().id();
        if former == id {
            return Ok(text::primary_already(id, &keyring));
        }
        let now = SystemClock.now();
        keyring.promote(id, now).map_err(|error| self.refused(error))?;
        locked.replace(&keyring)?;
        Ok(text::promoted(id, former, now.after(self.longest()), &self.file, &keyring, &self.flags))
    }

    async fn retire(&self, id: KeyId, force: bool) -> Result<String, Failure> {
        let (locked, mut keyring) = self.open()?;
        let in_time = keyring.may_retire(id, SystemClock.now(), self.longest());
        if !force {
            in_time.map_err(|error| self.refused(error))?;
        }
        keyring.retire(id).map_err(|error| self.refused(error))?;
        match self.mark_store(&locked).await {
            // Who says `--force` has no time to lose: a store that is out must not keep a leaked key in force.
            Err(failure) if force => drop(failure.report()),
            outcome => outcome?,
        }
        locked.replace(&keyring)?;
        Ok(text::retired(id, in_time.is_ok(), &self.file, &keyring))
    }

    /// Seals the store's mark under the primary key. A running server does that too; but where none has run since that
    /// key was promoted, the next one would find a mark that it can't open, and take the store for another keyring's.
    async fn mark_store(&self, locked: &LockedKeyring) -> Result<(), Failure> {
        let Some(store) = &self.store else { return Ok(()) };
        let file = locked.file();
        sessions::check(store, file.read()?, self.policy.clone(), file.path()).await.map(drop)
    }

    fn make(&self) -> Result<KeyringOrigin, Failure> {
        if let Some(data_dir) = &self.data_dir {
            return DataDir::open(data_dir)?.make_keyring();
        }
        match self.file.create(&Keyring::generate(&SystemRandom)) {
            Ok(()) => Ok(KeyringOrigin::Made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(KeyringOrigin::Found),
            Err(error) => {
                Err(Failure::other(format!("cannot write the keyring {}", self.file.path().display()))
                    .because(error)
                    .way_out("name a file with --keyring whose directory exists and is yours"))
            }
        }
    }

    fn open(&self) -> Result<(LockedKeyring, Keyring), Failure> {
        self.must_exist()?;
        let locked = self.file.lock()?;
        let keyring = locked.file().parse()?;
        Ok((locked, keyring))
    }

    fn must_exist(&self) -> Result<(), Failure> {
        if self.file.exists() {
            return Ok(());
        }
        Err(Failure::other(format!("there is no keyring {}", self.file.path().display())).way_out(
            "name the right one with --data-dir, --keyring or --config; `stayput keys new` makes one",
        ))
    }

    fn longest(&self) -> Duration {
        self.policy.longest_absolute_timeout()
    }

    fn refused(&self, error: KeyChangeError) -> Failure {
        let longest = humantime::format_duration(self.longest());
        let way_out = match error {
            KeyChangeError::TooEarly { .. } => format!(
                "wait until then: a session can last {longest}. Or, if somebody else has got hold of the key, retire \
                 it with --force, which logs out whoever still needs it"
            ),
            KeyChangeError::UnknownPast(_) => format!(
                "if it has not been primary for the last {longest}, which is how long a session can last, nobody needs \
                 it any more: retire it with --force"
            ),
            _ => format!("`stayput keys list{}` shows the keys", self.flags),
        };
        Failure::other(error.to_string()).way_out(format!("{way_out}. Nothing was changed."))
    }
}
