//! The devices that a recipe names.

/// Where a run computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// The CPU, with so many copies of the model side by side: more than one shows what several cards do, not faster.
    Cpu(usize),
    /// CUDA cards by number; the first one leads.
    Cards(Vec<usize>),
}

impl Devices {
    /// Reads `cpu`, `cpu:2`, `cuda:0` or `cuda:0,1`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(name: &str) -> Result<Self, String> {
        let wrong = || format!("{name:?} is neither \"cpu\" nor \"cuda:N\" (several cards: \"cuda:0,1\")");
        let (kind, numbers) = name.split_once(':').unwrap_or((name, ""));
        match (kind, numbers) {
            ("cpu", "") if name == "cpu" => Ok(Self::Cpu(1)),
            ("cpu", members) => match members.parse() {
                Ok(members) if members > 0 => Ok(Self::Cpu(members)),
                _ => Err(wrong()),
            },
            ("cuda", numbers) => {
                let cards = numbers.split(',').map(|n| n.trim().parse().ok().ok_or_else(wrong));
                let cards: Vec<usize> = cards.collect::<Result<_, _>>()?;
                let twice = cards.iter().enumerate().find(|(i, card)| cards[..*i].contains(card));
                match twice {
                    Some((_, card)) => Err(format!("{name:?} names card {card} twice")),
                    None => Ok(Self::Cards(cards)),
                }
            }
            _ => Err(wrong()),
        }
    }

    /// How many copies of the model train together.
    #[must_use]
    pub fn members(&self) -> usize {
        match self {
            Self::Cpu(members) => *members,
            Self::Cards(cards) => cards.len(),
        }
    }

    /// Whether it is the CPU.
    #[must_use]
    pub fn on_cpu(&self) -> bool {
        matches!(self, Self::Cpu(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        for (name, devices) in [
            ("cpu", Devices::Cpu(1)),
            ("cpu:3", Devices::Cpu(3)),
            ("cuda:0", Devices::Cards(vec![0])),
            ("cuda:2,0", Devices::Cards(vec![2, 0])),
            ("cuda:0, 1", Devices::Cards(vec![0, 1])),
        ] {
            assert_eq!(Devices::parse(name).unwrap(), devices, "{name}");
        }
        for name in ["", "gpu", "cpu:", "cpu:0", "cpu:x", "cuda", "cuda:", "cuda:0,", "cuda:-1", "cuda:0;1", "cuda:1,1"]
        {
            let error = Devices::parse(name).unwrap_err();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        assert!(Devices::parse("cuda:1,0,1").unwrap_err().contains("names card 1 twice"));
    }
}
