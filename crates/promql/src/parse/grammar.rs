//! Tokens to tree: recursive descent, with precedence climbing for operators.

use super::lex::{Keyword, Lexer, Token, TokenKind};
use super::{ParseError, ParseOptions, literal};
use crate::annotations::Pos;
use crate::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, Grouping};
use crate::functions;

/// What signs bind as tightly as, in front of an expression.
const SIGN: u8 = precedence(BinaryOp::Mul);

const fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
    }
}

/// How tightly an operator of arithmetic binds, and what its right side must bind as tightly as;
/// `None` for other operators.
pub(super) fn arithmetic(op: BinaryOp) -> Option<(u8, u8)> {
    let binds = precedence(op);
    let is_arithmetic = binds >= precedence(BinaryOp::Add) && op != BinaryOp::Atan2;
    is_arithmetic.then_some((binds, right_side(op)))
}

/// All are left-associative, but for powers.
const fn right_side(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Pow => precedence(op),
        _ => precedence(op) + 1,
    }
}

/// Reads tokens one by one, with one of them in sight.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) options: &'a ParseOptions,
    lexer: Lexer<'a>,
    /// The token that comes next.
    pub(super) token: Token,
    /// Why the next token is none, where it is [`TokenKind::Bad`].
    bad: Option<ParseError>,
    /// The end of the last token taken.
    pub(super) last_end: usize,
    depth: usize,
    /// How many aggregations are being read.
    aggregations: usize,
    operators: usize,
}

pub(super) type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, options: &'a ParseOptions) -> Self {
        let nothing = Token {
            kind: TokenKind::EndOfInput,
            start: 0,
            end: 0,
        };
        let mut parser = Self {
            text,
            options,
            lexer: Lexer::new(text),
            token: nothing,
            bad: None,
            last_end: 0,
            depth: 0,
            aggregations: 0,
            operators: 0,
        };
        parser.bump();
        parser
    }

    /// A whole query.
    pub(super) fn query(&mut self) -> Parsed<Expr> {
        if self.token.kind == TokenKind::EndOfInput {
            return self.error(0, "no expression found in input".to_owned());
        }
        let expr = self.expression(0)?;
        self.end()?;
        Ok(expr)
    }

    /// The end of the text.
    pub(super) fn end(&mut self) -> Parsed<()> {
        if self.token.kind == TokenKind::EndOfInput {
            return Ok(());
        }
        self.unexpected("", "")
    }

    /// Takes the next token. That the one behind it is bad is said where that one is looked at, so
    /// that what is wrong before it is said first.
    pub(super) fn bump(&mut self) -> Token {
        let next = self.lexer.next().unwrap_or_else(|error| {
            self.bad = Some(error);
            Token {
                kind: TokenKind::Bad,
                ..self.token
            }
        });
        let token = std::mem::replace(&mut self.token, next);
        self.last_end = token.end;
        token
    }

    /// Takes the next token if it is of a kind.
    pub(super) fn accept(&mut self, kind: TokenKind) -> Option<Token> {
        (self.token.kind == kind).then(|| self.bump())
    }

    /// Takes the next token, which must be of a kind.
    pub(super) fn expect(&mut self, kind: TokenKind, context: &str, wanted: &str) -> Parsed<Token> {
        match self.accept(kind) {
            Some(token) => Ok(token),
            None => self.unexpected(context, wanted),
        }
    }

    /// The error of a token that can't stand here.
    pub(super) fn unexpected<T>(&self, context: &str, wanted: &str) -> Parsed<T> {
        if let Some(bad) = &self.bad {
            return Err(bad.clone());
        }
        let context = match context {
            "" if self.aggregations > 0 => "aggregation",
            context => context,
        };
        let mut message = format!("unexpected {}", self.token.describe(self.text));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !wanted.is_empty() {
            message.push_str(&format!(", expected {wanted}"));
        }
        self.error(self.token.start, message)
    }

    pub(super) fn error<T>(&self, start: usize, message: String) -> Parsed<T> {
        Err(ParseError::at(self.text, start, message))
    }

    /// From a byte to the end of the last token taken.
    pub(super) fn since(&self, start: usize) -> Pos {
        pos(start, self.last_end)
    }

    pub(super) fn count_operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        let limit = self.options.max_operators;
        if self.operators > limit {
            let message = format!("query has more than {limit} operators; split it");
            return self.error(self.token.start, message);
        }
        Ok(())
    }

    /// What stands in parentheses, the left one of which was taken: one level deeper.
    pub(super) fn nested<T>(&mut self, body: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        let limit = self.options.max_depth;
        if self.depth > limit {
            let message = format!("query nests deeper than {limit} levels");
            return self.error(self.token.start, message);
        }
        let parsed = body(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    /// An expression whose operators bind at least so tightly.
    fn expression(&mut self, least: u8) -> Parsed<Expr> {
        let mut lhs = self.signed()?;
        while let TokenKind::Operator(op) = self.token.kind {
            if precedence(op) < least {
                break;
            }
            self.count_operator()?;
            self.bump();
            let (return_bool, matching) = self.modifiers(op)?;
            let rhs = self.expression(right_side(op))?;
            lhs = Expr {
                pos: Pos {
                    start: lhs.pos.start,
                    end: rhs.pos.end,
                },
                kind: ExprKind::Binary(Box::new(Binary {
                    op,
                    return_bool,
                    matching,
                    lhs,
                    rhs,
                })),
            };
        }
        Ok(lhs)
    }

    /// An operand with any signs in front of it.
    fn signed(&mut self) -> Parsed<Expr> {
        let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.token.kind else {
            let operand = self.operand()?;
            return self.suffixes(operand);
        };
        self.count_operator()?;
        let start = self.bump().start;
        let inner = self.expression(SIGN + 1)?;
        let pos = pos(start, inner.pos.end as usize);
        let kind = match (op, inner.kind) {
            (BinaryOp::Sub, ExprKind::Number(value, is_duration)) => {
                ExprKind::Number(-value, is_duration)
            }
            (_, kind @ ExprKind::Number(..)) => kind,
            (BinaryOp::Sub, kind) => ExprKind::Negate(Box::new(Expr { kind, ..inner })),
            (_, kind) => ExprKind::Plus(Box::new(Expr { kind, ..inner })),
        };
        Ok(Expr { kind, pos })
    }

    fn operand(&mut self) -> Parsed<Expr> {
        let start = self.token.start;
        let kind = match self.token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let (value, is_duration) = self.number()?;
                ExprKind::Number(value, is_duration)
            }
            TokenKind::String => ExprKind::String(self.string()?),
            TokenKind::LeftParen => {
                self.bump();
                let inner = self.nested(|parser| parser.expression(0))?;
                self.expect(TokenKind::RightParen, "", "")?;
                ExprKind::Paren(Box::new(inner))
            }
            TokenKind::LeftBrace => ExprKind::Selector(self.selector(None)?),
            TokenKind::Aggregate(op) => self.aggregate_or_metric(op)?,
            TokenKind::Identifier => self.call_or_metric()?,
            TokenKind::Keyword(keyword) if keyword.is_function() => self.call_or_metric()?,
            TokenKind::Keyword(keyword) if keyword.is_metric_name() => self.metric()?,
            TokenKind::MetricIdentifier
            | TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => {
                self.metric()?
            }
            _ => return self.unexpected("", ""),
        };
        Ok(Expr {
            kind,
            pos: self.since(start),
        })
    }

    fn metric(&mut self) -> Parsed<ExprKind> {
        let name = self.bump();
        Ok(ExprKind::Selector(self.selector(Some(name))?))
    }

    fn call_or_metric(&mut self) -> Parsed<ExprKind> {
        let name = self.bump();
        if self.token.kind != TokenKind::LeftParen {
            return Ok(ExprKind::Selector(self.selector(Some(name))?));
        }
        let word = self.word(name);
        let args = self.arguments()?;
        let Some(def) = functions::lookup(word) else {
            return self.error(name.start, format!("unknown function with name {word:?}"));
        };
        if def.experimental && !self.options.experimental {
            let message = format!(
                "function {word:?} is not enabled; it is experimental \
                 (limits.experimental_promql allows it)"
            );
            return self.error(name.start, message);
        }
        Ok(ExprKind::Call(def, args))
    }

    /// The text of a token.
    pub(super) fn word(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    /// Whether the next token may begin an expression.
    fn starts_expression(&self) -> bool {
        match self.token.kind {
            TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftParen
            | TokenKind::LeftBrace
            | TokenKind::Aggregate(_)
            | TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Bad => true,
            TokenKind::Keyword(keyword) => keyword.is_metric_name(),
            TokenKind::Operator(op) => op.is_set() || matches!(op, BinaryOp::Add | BinaryOp::Sub),
            _ => false,
        }
    }

    /// Expressions in parentheses.
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(TokenKind::LeftParen, "", "")?;
        let mut args = Vec::new();
        if self.accept(TokenKind::RightParen).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.nested(|parser| parser.expression(0))?);
            if self.accept(TokenKind::RightParen).is_some() {
                return Ok(args);
            }
            let comma = self.expect(TokenKind::Comma, "", "")?;
            if !self.starts_expression() {
                let message = "trailing commas not allowed in function call args".to_owned();
                return self.error(comma.start, message);
            }
        }
    }

    fn aggregate_or_metric(&mut self, op: AggregateOp) -> Parsed<ExprKind> {
        let name = self.bump();
        let grouping = self.grouping()?;
        match self.token.kind {
            TokenKind::LeftParen => {}
            _ if grouping.is_some() => return self.unexpected("aggregation", ""),
            _ => return Ok(ExprKind::Selector(self.selector(Some(name))?)),
        }
        self.aggregations += 1;
        let mut args = self.arguments()?;
        self.aggregations -= 1;
        let grouping = match grouping {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        if args.is_empty() {
            let message = "no arguments for aggregate expression provided".to_owned();
            return self.error(name.start, message);
        }
        if op.is_experimental() && !self.options.experimental {
            let message = format!(
                "{}() is experimental and not enabled (limits.experimental_promql allows it)",
                op.name()
            );
            return self.error(name.start, message);
        }
        let wanted = 1 + usize::from(op.param_type().is_some());
        let (got, is_right) = (args.len(), args.len() == wanted);
        let Some(expr) = args.pop().filter(|_| is_right) else {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, \
                 got {got}"
            );
            return self.error(name.start, message);
        };
        Ok(ExprKind::Aggregate(Box::new(Aggregate {
            op,
            grouping: grouping.unwrap_or(Grouping::By(Vec::new())),
            param: args.pop(),
            expr,
        })))
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let by = match self.token.kind {
            TokenKind::Keyword(Keyword::By) => true,
            TokenKind::Keyword(Keyword::Without) => false,
            _ => return Ok(None),
        };
        self.bump();
        let labels = self.labels()?;
        Ok(Some(if by {
            Grouping::By(labels)
        } else {
            Grouping::Without(labels)
        }))
    }

    /// A number or duration, and whether it was the latter.
    pub(super) fn number(&mut self) -> Parsed<(f64, bool)> {
        let token = self.bump();
        let word = self.word(token);
        if let Some(value) = literal::parse_number(word) {
            // Infinity has a name, and is no number with digits.
            if value.is_infinite() && !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let what = format!("strconv.ParseFloat: parsing {word:?}: value out of range");
                return self.error(token.start, format!("error parsing number: {what}"));
            }
            return Ok((value, false));
        }
        match literal::parse_duration_ms(word) {
            Some(ms) => Ok((ms as f64 / 1000.0, true)),
            None => self.error(
                token.start,
                format!("not a valid duration string: {word:?}"),
            ),
        }
    }

    /// A string literal, decoded.
    pub(super) fn string(&mut self) -> Parsed<String> {
        let token = self.bump();
        let decoded = literal::parse_string(self.word(token));
        decoded
            .map(|(decoded, _)| decoded)
            .or_else(|message| self.error(token.start, message))
    }
}

pub(super) fn pos(start: usize, end: usize) -> Pos {
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Pos {
        start: offset(start),
        end: offset(end),
    }
}
