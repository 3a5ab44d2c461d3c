//! The optimiser's state of a whole team, asked for parameter by parameter.

use super::Team;
use super::member::{Order, Reply};
use crate::train::adamw::{AdamW, SaveMoments, SavedMoments};
use crate::train::error::At;
use crate::train::hook::FirstMoments;
use candle_core::{Error, Result};
use std::borrow::Cow;
use std::fmt;

/// The trainer's optimiser, and those of the members of its team, if there is one.
pub(in crate::train) struct Everyones<'t, B> {
    pub(in crate::train) own: &'t AdamW,
    pub(in crate::train) team: Option<&'t Team<B>>,
    pub(in crate::train) at: At,
}

impl<B> fmt::Debug for Everyones<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Everyones").field("own", self.own).finish_non_exhaustive()
    }
}

impl<B> Everyones<'_, B> {
    /// Moments of a parameter that member `number`, from 0 without the trainer, moves: the first, or both.
    fn ask(&self, team: &Team<B>, number: usize, name: &str, both: bool) -> Result<Option<Vec<Vec<f32>>>> {
        let other = &team.others[number];
        other.order(Order::Moments { name: name.to_owned(), both }, &self.at).map_err(Error::wrap)?;
        match other.reply(&self.at).map_err(Error::wrap)? {
            Reply::Moments(moments) => Ok(moments),
            _ => Err(Error::wrap(other.confused(&self.at))),
        }
    }

    /// The team and the member that moves trainable parameter `i`, if it is not the trainer.
    fn elsewhere(&self, i: usize) -> Option<(&Team<B>, usize)> {
        let team = self.team?;
        Some((team, team.movers[i].checked_sub(1)?))
    }
}

impl<B> FirstMoments for Everyones<'_, B> {
    fn first_moment(&self, name: &str) -> Result<Option<Cow<'_, [f32]>>> {
        let elsewhere = self.own.place_of(name).and_then(|i| self.elsewhere(i));
        let Some((team, number)) = elsewhere else { return self.own.first_moment(name) };
        let moments = self.ask(team, number, name, false)?;
        Ok(moments.and_then(|moments| moments.into_iter().next()).map(Cow::Owned))
    }
}

impl<B> SaveMoments for Everyones<'_, B> {
    fn saved(&self) -> Box<dyn Iterator<Item = Result<SavedMoments<'_>>> + '_> {
        Box::new(self.own.names().enumerate().filter_map(|(i, (name, dims))| {
            let both = match self.elsewhere(i) {
                None => self.own.moments_of(name),
                Some((team, number)) => self.ask(team, number, name, true).map(|moments| {
                    let both: [Vec<f32>; 2] = moments?.try_into().ok()?;
                    Some(both.map(Cow::Owned))
                }),
            };
            let saved = both.transpose()?;
            Some(saved.map(|[first, second]| SavedMoments { name, dims, first, second }))
        }))
    }
}
