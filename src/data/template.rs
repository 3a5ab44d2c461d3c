//! Prompt templates: a conversation becomes one text with the spans whose tokens the model learns to say.

use super::conversation::{IMAGE_PLACEHOLDER, Role, Turn};
use crate::config::data::Template;
use std::ops::Range;

/// System message of Vicuna v1, which LLaVA-1.5 was trained with.
const VICUNA_SYSTEM: &str = "A chat between a curious user and an artificial intelligence assistant. \
    The assistant gives helpful, detailed, and polite answers to the user's questions.";

/// System message that the chat template of `SmolLM2` puts first where a conversation brings none.
const SMOLLM2_SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// A rendered conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Whole text, `<image>` included.
    pub text: String,
    /// Byte ranges that are learnt: each answer from right after its header to the end of its end token. A token
    /// belongs to a range when it ends after the range's start and begins before its end.
    pub labelled: Vec<Range<usize>>,
}

impl Rendered {
    /// Appends text that is learnt if `labelled`.
    fn answer(&mut self, text: &str, labelled: bool) {
        let start = self.text.len();
        self.text.push_str(text);
        if labelled {
            self.labelled.push(start..self.text.len());
        }
    }
}

/// Renders a conversation. `system` replaces the template's own system message (an empty one leaves it out); `end` is
/// the tokenizer's end token. An empty answer is never learnt.
///
/// # Errors
/// The template cannot hold the conversation (`plain` takes one question and one answer).
pub fn render(turns: &[Turn], template: Template, system: Option<&str>, end: &str) -> Result<Rendered, String> {
    match template {
        Template::V1 => Ok(v1(turns, system, end)),
        Template::ChatMl => Ok(chatml(turns, system, end)),
        Template::Plain => plain(turns),
    }
}

/// Renders the turns and the header of the answer that is to be generated; the last turn is a question.
///
/// # Errors
/// As [`render`].
pub fn render_prompt(turns: &[Turn], template: Template, system: Option<&str>, end: &str) -> Result<String, String> {
    let mut rendered = match template {
        Template::Plain if turns.len() == 1 => return Ok(plain_image(&turns[0]).to_owned()),
        _ => render(turns, template, system, end)?,
    };
    rendered.text.push_str(match template {
        Template::V1 => "ASSISTANT:",
        Template::ChatMl => "<|im_start|>assistant\n",
        Template::Plain => "",
    });
    Ok(rendered.text)
}

fn v1(turns: &[Turn], system: Option<&str>, end: &str) -> Rendered {
    let mut out = Rendered::default();
    let system = system.unwrap_or(VICUNA_SYSTEM);
    if !system.is_empty() {
        out.text = format!("{system} ");
    }
    for turn in turns {
        let text = turn.text.as_str();
        match turn.role {
            // The published code writes a bare header for an empty message.
            Role::Human if text.is_empty() => out.text.push_str("USER:"),
            Role::Human => out.text.extend(["USER: ", text, " "]),
            Role::Assistant => {
                out.text.push_str("ASSISTANT:");
                if !text.is_empty() {
                    out.answer(&format!(" {text}{end}"), true);
                }
            }
        }
    }
    out
}

fn chatml(turns: &[Turn], system: Option<&str>, end: &str) -> Rendered {
    let mut out = Rendered::default();
    let system = system.unwrap_or(SMOLLM2_SYSTEM);
    if !system.is_empty() {
        out.text = format!("<|im_start|>system\n{system}{end}\n");
    }
    for turn in turns {
        let text = turn.text.as_str();
        match turn.role {
            Role::Human => out.text.extend(["<|im_start|>user\n", text, end, "\n"]),
            Role::Assistant => {
                out.text.push_str("<|im_start|>assistant\n");
                out.answer(&format!("{text}{end}"), !text.is_empty());
                out.text.push('\n');
            }
        }
    }
    out
}

fn plain(turns: &[Turn]) -> Result<Rendered, String> {
    let [question, answer] = turns else {
        return Err(format!("the plain template takes one question and one answer, not {} turns", turns.len()));
    };
    let mut out = Rendered { text: plain_image(question).to_owned(), labelled: Vec::new() };
    out.answer(&format!("{}\n", answer.text), !answer.text.is_empty());
    Ok(out)
}

fn plain_image(question: &Turn) -> &'static str {
    if question.text.starts_with(IMAGE_PLACEHOLDER) { IMAGE_PLACEHOLDER } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(texts: &[&str]) -> Vec<Turn> {
        let role = |i: usize| if i.is_multiple_of(2) { Role::Human } else { Role::Assistant };
        texts.iter().enumerate().map(|(i, t)| Turn { role: role(i), text: (*t).to_owned() }).collect()
    }

    fn shown(texts: &[&str], template: Template, system: Option<&str>, end: &str) -> String {
        let rendered = render(&turns(texts), template, system, end).unwrap();
        let mut text = rendered.text;
        for range in rendered.labelled.iter().rev() {
            text.insert(range.end, '}');
            text.insert(range.start, '{');
        }
        text
    }

    #[test]
    fn v1_labels_begin_at_the_space_after_the_colon() {
        let text = shown(&["<image>\nWhat?", "A.", "Why ASSISTANT: x?", "B."], Template::V1, None, "</s>");
        insta::assert_snapshot!(text, @r"
        A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. USER: <image>
        What? ASSISTANT:{ A.</s>}USER: Why ASSISTANT: x? ASSISTANT:{ B.</s>}
        ");
        assert_eq!(shown(&["a", "b"], Template::V1, Some(""), "</s>"), "USER: a ASSISTANT:{ b</s>}");
        assert_eq!(shown(&["a", "", "c"], Template::V1, Some("S."), "</s>"), "S. USER: a ASSISTANT:USER: c ");
    }

    #[test]
    fn chatml_is_smollm2s_own() {
        let text = shown(&["<image>\nWhat?", "A.", "Why?"], Template::ChatMl, None, "<|im_end|>");
        insta::assert_snapshot!(text, @r"
        <|im_start|>system
        You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
        <|im_start|>user
        <image>
        What?<|im_end|>
        <|im_start|>assistant
        {A.<|im_end|>}
        <|im_start|>user
        Why?<|im_end|>
        ");
        assert_eq!(
            shown(&["a", ""], Template::ChatMl, Some(""), "E"),
            "<|im_start|>userQaEQ<|im_start|>assistantQEQ".replace('Q', "\n")
        );
    }

    #[test]
    fn plain_keeps_image_and_caption() {
        assert_eq!(shown(&["<image>\nDescribe.", "A cat."], Template::Plain, None, "</s>"), "<image>{A cat.\n}");
        assert_eq!(shown(&["Describe.", "A cat."], Template::Plain, None, "</s>"), "{A cat.\n}");
        let error = render(&turns(&["a", "b", "c"]), Template::Plain, None, "").unwrap_err();
        assert_eq!(error, "the plain template takes one question and one answer, not 3 turns");
    }

    proptest! {
        #[test]
        fn what_is_learnt_is_the_answers_and_nothing_else(texts in proptest::collection::vec("[a-zé <>:/]{0,9}", 1..7), end in "[<>/sQ]{1,4}") {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let answers = || texts.iter().skip(1).step_by(2).filter(|t| !t.is_empty());
            for template in [Template::V1, Template::ChatMl, Template::Plain] {
                let Ok(rendered) = render(&turns(&texts), template, None, &end) else {
                    prop_assert!(template == Template::Plain && texts.len() != 2);
                    continue;
                };
                let learnt: Vec<&str> = rendered.labelled.iter().map(|r| &rendered.text[r.clone()]).collect();
                let expected: Vec<String> = answers().map(|answer| match template {
                    Template::V1 => format!(" {answer}{end}"),
                    Template::ChatMl => format!("{answer}{end}"),
                    Template::Plain => format!("{answer}\n"),
                }).collect();
                prop_assert_eq!(learnt, expected);
                prop_assert!(rendered.labelled.windows(2).all(|w| w[0].end <= w[1].start));
            }
        }
    }

    #[test]
    fn prompts_end_at_the_header() {
        let prompt = |template| render_prompt(&turns(&["<image>\nWhat?"]), template, Some(""), "</s>").unwrap();
        assert_eq!(prompt(Template::V1), "USER: <image>\nWhat? ASSISTANT:");
        assert_eq!(prompt(Template::ChatMl), "<|im_start|>user\n<image>\nWhat?</s>\n<|im_start|>assistant\n");
        assert_eq!(prompt(Template::Plain), "<image>");
    }
}
