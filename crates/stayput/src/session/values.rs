//! A session's values, by key.
//!
//! Nothing here writes over what a parallel request wrote to other keys.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Session;
use crate::Error;
use crate::data::{self, Data};

impl Session {
    /// The value under `key`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if the value is of another type; errors of the store.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let begun = {
            let mut state = self.state();
            if let Some(change) = state.changes.get(key).cloned() {
                drop(state);
                return change.map(|value| data::decode(key, &value)).transpose();
            }
            state.begin_lookup()
        };
        let current = self.loaded_since(begun).await?;
        let value = current.as_ref().map(|current| current.data.known(key)).transpose()?.flatten();
        value.map(|value| data::decode(key, value)).transpose()
    }

    /// Sets the value under `key`, together with all other buffered changes, when the handler has returned. Of
    /// parallel requests that set the same key the last one wins; other keys are not touched.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`]; [`Error::Committed`] if the response head has left.
    pub fn insert<T: Serialize>(&self, key: &str, value: T) -> Result<(), Error> {
        self.buffer(key, Some(data::encode(key, &value)?))
    }

    /// Removes the value under `key`, on the terms of [`Session::insert`].
    ///
    /// # Errors
    ///
    /// [`Error::Committed`] if the response head has left.
    pub fn remove(&self, key: &str) -> Result<(), Error> {
        self.buffer(key, None)
    }

    /// Removes the value under `key` atomically and gives it back: of parallel requests only one gets it. Commits at once,
    /// buffered changes with it.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    pub async fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.write(|values| {
            let value = values.known(key)?.map(|value| data::decode(key, value)).transpose()?;
            values.remove(key.as_bytes());
            Ok(value)
        })
        .await
    }

    /// Changes the value under `key` (at first its default) atomically, and returns it as it is then. Commits at once,
    /// buffered changes with it.
    ///
    /// `change` is run again when a parallel request wrote first, so it must have no effect but on its argument.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`], [`Error::Ended`], [`Error::Superseded`], [`Error::Decode`], [`Error::TooLarge`]; errors of
    /// the store.
    pub async fn update<T>(&self, key: &str, mut change: impl FnMut(&mut T)) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.write(|values| {
            let mut value = stored_or_default(key, values)?;
            change(&mut value);
            values.set(key.as_bytes(), &data::encode(key, &value)?);
            Ok(value)
        })
        .await
    }

    /// As [`Session::update`], with a result of the closure's own.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    pub async fn update_with<T, R>(&self, key: &str, mut change: impl FnMut(&mut T) -> R) -> Result<R, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        self.try_update(key, |value| Ok(change(value))).await
    }

    /// As [`Session::update_with`]; nothing is written if the closure fails.
    ///
    /// # Errors
    ///
    /// The closure's error, or as [`Session::update`].
    pub async fn try_update<T, R, E>(
        &self,
        key: &str,
        mut change: impl FnMut(&mut T) -> Result<R, E>,
    ) -> Result<R, E>
    where
        T: Serialize + DeserializeOwned + Default,
        E: From<Error>,
    {
        self.write(|values| {
            let mut value = stored_or_default(key, values)?;
            let result = change(&mut value)?;
            values.set(key.as_bytes(), &data::encode(key, &value)?);
            Ok(result)
        })
        .await
    }

    /// Commits buffered changes now instead of when the handler has returned.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    pub async fn save(&self) -> Result<(), Error> {
        self.write(|_| Ok(())).await
    }

    fn buffer(&self, key: &str, change: Option<Vec<u8>>) -> Result<(), Error> {
        let mut state = self.state();
        state.check_head()?;
        state.changes.insert(key, change);
        Ok(())
    }

    async fn write<R, E: From<Error>>(&self, change: impl FnMut(&mut Data) -> Result<R, E>) -> Result<R, E> {
        let _turn = self.turn().await;
        self.commit(change).await
    }
}

fn stored_or_default<T: DeserializeOwned + Default>(key: &str, values: &Data) -> Result<T, Error> {
    values.known(key)?.map_or_else(|| Ok(T::default()), |value| data::decode(key, value))
}
