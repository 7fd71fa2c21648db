#include <string.h>

#include "parts.h"

const token *chat_word(const parser *p)
{
    return &p->words.at[p->at];
}

bool chat_at(const parser *p, token_kind kind, const char *text)
{
    const token *t = chat_word(p);

    return t->kind == kind && (text == NULL || strcmp(t->text, text) == 0);
}

bool chat_accept(parser *p, token_kind kind, const char *text)
{
    bool there = chat_at(p, kind, text);

    p->at += there && kind != T_END;
    return there;
}

sd_status chat_unsupported(parser *p, const char *what)
{
    const token *t = chat_word(p);

    p->m->line = t->line;
    if (t->kind == T_END)
        return CHAT_FAIL(p->m, "the template ends unexpectedly");
    return CHAT_FAIL(p->m, "%s%s'%.60s' is not supported%s", what != NULL ? what : "", what != NULL ? " " : "", t->text,
                     t->kind == T_NAME ? "" : " here");
}

sd_status chat_expect(parser *p, token_kind kind, const char *text)
{
    return chat_accept(p, kind, text) ? SD_OK : chat_unsupported(p, NULL);
}

sd_status chat_node(parser *p, node_kind kind, node **out)
{
    node *n;
    sd_status st;

    SD_TRY(st, CHAT_NEW(&p->m->memory, &n, 1));
    n->kind = kind;
    n->line = chat_word(p)->line;
    *out = n;
out:
    return st;
}

static sd_status parse_body(parser *p, const char *const *ends, node **out);

/* The end of the tag after "{% word". */
static sd_status end_block(parser *p)
{
    return chat_expect(p, T_BLOCK_END, NULL);
}

static sd_status end_with(parser *p, const char *word)
{
    sd_status st;

    SD_TRY(st, chat_expect(p, T_NAME, word));
    st = end_block(p);
out:
    return st;
}

static sd_status parse_if(parser *p, node **out)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    sd_status st;

    SD_TRY(st, chat_node(p, N_IF, out));
    SD_TRY(st, chat_tuple(p, false, &(*out)->a));
    SD_TRY(st, end_block(p));
    SD_TRY(st, parse_body(p, ends, &(*out)->b));
    if (chat_accept(p, T_NAME, "elif")) {
        if (p->depth++ >= CHAT_DEPTH)
            return chat_unsupported(p, "a chain of elif this long,");
        SD_TRY(st, parse_if(p, &(*out)->c));
        p->depth--;
        return SD_OK;
    }
    if (chat_accept(p, T_NAME, "else")) {
        SD_TRY(st, end_block(p));
        SD_TRY(st, parse_body(p, ends + 2, &(*out)->c));
    }
    st = end_with(p, "endif");
out:
    return st;
}

/* Names separated by commas, optionally in parentheses. */
static sd_status parse_targets(parser *p, node *of)
{
    node **last = &of->targets;
    bool open = chat_accept(p, T_OP, "(");
    sd_status st;

    do {
        if (of->targets != NULL && !chat_at(p, T_NAME, NULL))
            break;
        SD_TRY(st, chat_node(p, N_NAME, last));
        (*last)->name = chat_word(p)->text;
        SD_TRY(st, chat_expect(p, T_NAME, NULL));
        last = &(*last)->next;
    } while (chat_accept(p, T_OP, ","));
    st = open ? chat_expect(p, T_OP, ")") : SD_OK;
out:
    return st;
}

static sd_status parse_for(parser *p, node **out)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    node *n;
    sd_status st;

    SD_TRY(st, chat_node(p, N_FOR, out));
    n = *out;
    SD_TRY(st, parse_targets(p, n));
    SD_TRY(st, chat_expect(p, T_NAME, "in"));
    SD_TRY(st, chat_tuple(p, false, &n->a));
    if (chat_accept(p, T_NAME, "if"))
        SD_TRY(st, chat_expression(p, true, &n->d));
    if (chat_at(p, T_NAME, "recursive"))
        return chat_unsupported(p, NULL);
    SD_TRY(st, end_block(p));
    p->loops++;
    SD_TRY(st, parse_body(p, ends, &n->b));
    p->loops--;
    if (chat_accept(p, T_NAME, "else")) {
        SD_TRY(st, end_block(p));
        SD_TRY(st, parse_body(p, ends + 1, &n->c));
    }
    st = end_with(p, "endfor");
out:
    return st;
}

static sd_status parse_set(parser *p, node **out)
{
    static const char *const ends[] = {"endset", NULL};
    node *n;
    sd_status st;

    SD_TRY(st, chat_node(p, N_SET, out));
    n = *out;
    if (chat_at(p, T_NAME, NULL) && p->words.at[p->at + 1].kind == T_OP && strcmp(p->words.at[p->at + 1].text, ".") == 0) {
        n->name = chat_word(p)->text;
        p->at += 2;
        n->field = chat_word(p)->text;
        SD_TRY(st, chat_expect(p, T_NAME, NULL));
    } else {
        SD_TRY(st, parse_targets(p, n));
    }
    if (chat_accept(p, T_OP, "=")) {
        SD_TRY(st, chat_tuple(p, true, &n->a));
        return end_block(p);
    }
    SD_TRY(st, end_block(p));
    SD_TRY(st, parse_body(p, ends, &n->b));
    st = end_with(p, "endset");
out:
    return st;
}

static sd_status parse_macro(parser *p, node **out)
{
    static const char *const ends[] = {"endmacro", NULL};
    node *n, **last;
    unsigned loops = p->loops;
    sd_status st;

    SD_TRY(st, chat_node(p, N_MACRO, out));
    n = *out;
    n->name = chat_word(p)->text;
    SD_TRY(st, chat_expect(p, T_NAME, NULL));
    SD_TRY(st, chat_expect(p, T_OP, "("));
    for (last = &n->targets; !chat_accept(p, T_OP, ")"); last = &(*last)->next) {
        if (n->targets != NULL)
            SD_TRY(st, chat_expect(p, T_OP, ","));
        SD_TRY(st, chat_node(p, N_PARAMETER, last));
        (*last)->name = chat_word(p)->text;
        SD_TRY(st, chat_expect(p, T_NAME, NULL));
        if (chat_accept(p, T_OP, "="))
            SD_TRY(st, chat_expression(p, true, &(*last)->a));
    }
    SD_TRY(st, end_block(p));
    p->loops = 0;
    SD_TRY(st, parse_body(p, ends, &n->b));
    p->loops = loops;
    st = end_with(p, "endmacro");
out:
    return st;
}

static sd_status parse_generation(parser *p, node **out)
{
    static const char *const ends[] = {"endgeneration", NULL};
    sd_status st;

    SD_TRY(st, chat_node(p, N_GENERATION, out));
    SD_TRY(st, end_block(p));
    SD_TRY(st, parse_body(p, ends, &(*out)->b));
    st = end_with(p, "endgeneration");
out:
    return st;
}

static sd_status parse_leave(parser *p, bool leave, node **out)
{
    sd_status st;

    if (p->loops == 0) {
        p->at--;
        return chat_unsupported(p, "outside a loop,");
    }
    SD_TRY(st, chat_node(p, leave ? N_BREAK : N_CONTINUE, out));
    st = end_block(p);
out:
    return st;
}

static sd_status parse_block(parser *p, node **out)
{
    if (chat_accept(p, T_NAME, "if"))
        return parse_if(p, out);
    if (chat_accept(p, T_NAME, "for"))
        return parse_for(p, out);
    if (chat_accept(p, T_NAME, "set"))
        return parse_set(p, out);
    if (chat_accept(p, T_NAME, "macro"))
        return parse_macro(p, out);
    if (chat_accept(p, T_NAME, "generation"))
        return parse_generation(p, out);
    if (chat_accept(p, T_NAME, "break"))
        return parse_leave(p, true, out);
    if (chat_accept(p, T_NAME, "continue"))
        return parse_leave(p, false, out);
    return chat_unsupported(p, NULL);
}

static bool ends_here(const parser *p, const char *const *ends)
{
    for (; *ends != NULL; ends++)
        if (chat_at(p, T_NAME, *ends))
            return true;
    return false;
}

/* Statements up to one of the words of `ends`, which becomes the current token; without words up to the end of the template. */
static sd_status parse_body(parser *p, const char *const *ends, node **out)
{
    node **last = out;
    sd_status st = SD_OK;

    *out = NULL;
    if (p->depth++ >= CHAT_DEPTH)
        return chat_unsupported(p, "nesting this deep,");
    while (!(ends[0] == NULL && chat_at(p, T_END, NULL))) {
        const token *t = chat_word(p);

        if (chat_accept(p, T_DATA, NULL)) {
            SD_TRY(st, chat_node(p, N_DATA, last));
            SD_TRY(st, chat_text(p->m, t->text, t->length, 0, &(*last)->literal));
        } else if (chat_accept(p, T_PRINT, NULL)) {
            SD_TRY(st, chat_node(p, N_PRINT, last));
            SD_TRY(st, chat_tuple(p, true, &(*last)->a));
            SD_TRY(st, chat_expect(p, T_PRINT_END, NULL));
        } else {
            SD_TRY(st, chat_expect(p, T_BLOCK, NULL));
            if (ends_here(p, ends))
                break;
            SD_TRY(st, parse_block(p, last));
        }
        last = &(*last)->next;
    }
    p->depth--;
out:
    return st;
}

sd_status chat_parse(machine *m, const tokens *words, node **out)
{
    static const char *const none[] = {NULL};
    parser p = {.m = m, .words = *words};

    return parse_body(&p, none, out);
}
