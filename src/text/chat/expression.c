/* Expressions, in Jinja's order of precedence: if-else, or, and, not, comparisons, + -, ~, * / // %, **, signs, then members, calls,
 * filters and tests. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

static sd_status enter(parser *p)
{
    if (p->depth++ >= CHAT_DEPTH)
        return chat_unsupported(p, "nesting this deep,");
    return SD_OK;
}

static sd_status binary(parser *p, node_kind kind, const char *name, node *a, node *b, node **out)
{
    sd_status st;

    SD_TRY(st, chat_node(p, kind, out));
    (*out)->name = name;
    (*out)->a = a;
    (*out)->b = b;
out:
    return st;
}

static sd_status parse_unary(parser *p, bool filters, node **out);
static sd_status parse_or(parser *p, node **out);
static sd_status parse_primary(parser *p, node **out);
static sd_status parse_postfix(parser *p, node **n);

/* The arguments of a call, after its opening parenthesis. */
static sd_status parse_arguments(parser *p, node **out)
{
    node **last = out;
    bool keyword = false;
    sd_status st = SD_OK;

    *out = NULL;
    while (!chat_accept(p, T_OP, ")")) {
        if (*out != NULL) {
            SD_TRY(st, chat_expect(p, T_OP, ","));
            if (chat_accept(p, T_OP, ")"))
                break;
        }
        if (chat_at(p, T_OP, "*") || chat_at(p, T_OP, "**"))
            return chat_unsupported(p, NULL);
        SD_TRY(st, chat_node(p, N_ARGUMENT, last));
        if (chat_at(p, T_NAME, NULL) && p->words.at[p->at + 1].kind == T_OP && strcmp(p->words.at[p->at + 1].text, "=") == 0) {
            (*last)->name = chat_word(p)->text;
            p->at += 2;
            keyword = true;
        } else if (keyword) {
            return chat_unsupported(p, "a positional argument after a keyword argument");
        }
        SD_TRY(st, chat_expression(p, true, &(*last)->a));
        last = &(*last)->next;
    }
out:
    return st;
}

static sd_status parse_index(parser *p, node *of, node **out)
{
    node *part[3] = {NULL};
    int n = 0;
    bool slice = false;
    sd_status st;

    for (;;) {
        if (chat_accept(p, T_OP, ":")) {
            slice = true;
            if (++n == 3)
                return chat_unsupported(p, NULL);
            continue;
        }
        if (chat_at(p, T_OP, "]"))
            break;
        if (part[n] != NULL)
            return chat_unsupported(p, NULL);
        SD_TRY(st, chat_expression(p, true, &part[n]));
    }
    if (!slice && part[0] == NULL)
        return chat_unsupported(p, NULL);
    SD_TRY(st, chat_expect(p, T_OP, "]"));
    SD_TRY(st, binary(p, slice ? N_SLICE : N_ITEM, NULL, of, part[0], out));
    (*out)->c = part[1];
    (*out)->d = part[2];
out:
    return st;
}

static sd_status parse_postfix(parser *p, node **n)
{
    sd_status st = SD_OK;

    for (;;) {
        if (chat_accept(p, T_OP, ".")) {
            const token *name = chat_word(p);

            if (name->kind == T_INT) {
                p->at++;
                SD_TRY(st, binary(p, N_ITEM, NULL, *n, NULL, n));
                SD_TRY(st, chat_node(p, N_LITERAL, &(*n)->b));
                (*n)->b->literal = chat_int(strtoll(name->text, NULL, 10));
                continue;
            }
            SD_TRY(st, chat_expect(p, T_NAME, NULL));
            SD_TRY(st, binary(p, N_MEMBER, name->text, *n, NULL, n));
        } else if (chat_accept(p, T_OP, "[")) {
            SD_TRY(st, parse_index(p, *n, n));
        } else if (chat_accept(p, T_OP, "(")) {
            node *call;

            SD_TRY(st, binary(p, N_CALL, NULL, *n, NULL, &call));
            SD_TRY(st, parse_arguments(p, &call->b));
            *n = call;
        } else {
            break;
        }
    }
out:
    return st;
}

static sd_status parse_test(parser *p, node **n)
{
    node *test;
    const token *name;
    sd_status st;

    SD_TRY(st, binary(p, N_TEST, NULL, *n, NULL, &test));
    test->flag = chat_accept(p, T_NAME, "not");
    name = chat_word(p);
    if (!chat_at(p, T_NAME, NULL) || !chat_test_known(name->text))
        return chat_unsupported(p, "test");
    test->name = name->text;
    p->at++;
    if (chat_accept(p, T_OP, "(")) {
        SD_TRY(st, parse_arguments(p, &test->b));
    } else if ((chat_at(p, T_NAME, NULL) && !chat_at(p, T_NAME, "else") && !chat_at(p, T_NAME, "or") && !chat_at(p, T_NAME, "and")) ||
               chat_at(p, T_STRING, NULL) || chat_at(p, T_INT, NULL) || chat_at(p, T_FLOAT, NULL) || chat_at(p, T_OP, "[") ||
               chat_at(p, T_OP, "{")) {
        if (chat_at(p, T_NAME, "is"))
            return chat_unsupported(p, NULL);
        SD_TRY(st, chat_node(p, N_ARGUMENT, &test->b));
        SD_TRY(st, parse_primary(p, &test->b->a));
        SD_TRY(st, parse_postfix(p, &test->b->a));
    }
    *n = test;
out:
    return st;
}

static sd_status parse_filters(parser *p, node **n)
{
    sd_status st = SD_OK;

    for (;;) {
        if (chat_accept(p, T_OP, "|")) {
            const token *name = chat_word(p);

            if (!chat_at(p, T_NAME, NULL) || !chat_filter_known(name->text))
                return chat_unsupported(p, "filter");
            p->at++;
            SD_TRY(st, binary(p, N_FILTER, name->text, *n, NULL, n));
            if (chat_accept(p, T_OP, "("))
                SD_TRY(st, parse_arguments(p, &(*n)->b));
        } else if (chat_accept(p, T_NAME, "is")) {
            SD_TRY(st, parse_test(p, n));
        } else if (chat_accept(p, T_OP, "(")) {
            node *call;

            SD_TRY(st, binary(p, N_CALL, NULL, *n, NULL, &call));
            SD_TRY(st, parse_arguments(p, &call->b));
            *n = call;
        } else {
            break;
        }
    }
out:
    return st;
}

static sd_status parse_list(parser *p, node **out)
{
    node **last;
    sd_status st;

    SD_TRY(st, chat_node(p, N_LIST, out));
    last = &(*out)->a;
    while (!chat_accept(p, T_OP, "]")) {
        if ((*out)->a != NULL) {
            SD_TRY(st, chat_expect(p, T_OP, ","));
            if (chat_accept(p, T_OP, "]"))
                break;
        }
        SD_TRY(st, chat_expression(p, true, last));
        last = &(*last)->next;
    }
out:
    return st;
}

static sd_status parse_dict(parser *p, node **out)
{
    node **last;
    sd_status st;

    SD_TRY(st, chat_node(p, N_DICT, out));
    last = &(*out)->a;
    while (!chat_accept(p, T_OP, "}")) {
        if ((*out)->a != NULL) {
            SD_TRY(st, chat_expect(p, T_OP, ","));
            if (chat_accept(p, T_OP, "}"))
                break;
        }
        SD_TRY(st, chat_expression(p, true, last));
        last = &(*last)->next;
        SD_TRY(st, chat_expect(p, T_OP, ":"));
        SD_TRY(st, chat_expression(p, true, last));
        last = &(*last)->next;
    }
out:
    return st;
}

static sd_status parse_text(parser *p, value *out)
{
    buffer b = {0};
    sd_status st = SD_OK;

    while (chat_at(p, T_STRING, NULL)) {
        SD_TRY(st, chat_add(p->m, &b, chat_word(p)->text, NULL, chat_word(p)->length));
        p->at++;
    }
    st = chat_take(p->m, &b, out);
out:
    return st;
}

static sd_status parse_primary(parser *p, node **out)
{
    static const struct {
        const char *name;
        value_kind kind;
        bool truth;
    } fixed[] = {{"true", V_BOOL, true},  {"True", V_BOOL, true},   {"false", V_BOOL, false},
                 {"False", V_BOOL, false}, {"none", V_NONE, false}, {"None", V_NONE, false}};
    const token *t = chat_word(p);
    sd_status st;

    if (chat_accept(p, T_OP, "(")) {
        if (chat_accept(p, T_OP, ")")) {
            SD_TRY(st, chat_node(p, N_LIST, out));
            (*out)->flag = true;
            return SD_OK;
        }
        SD_TRY(st, enter(p));
        SD_TRY(st, chat_tuple(p, true, out));
        p->depth--;
        return chat_expect(p, T_OP, ")");
    }
    if (chat_accept(p, T_OP, "["))
        return parse_list(p, out);
    if (chat_accept(p, T_OP, "{"))
        return parse_dict(p, out);
    if (t->kind != T_NAME && t->kind != T_STRING && t->kind != T_INT && t->kind != T_FLOAT)
        return chat_unsupported(p, NULL);
    SD_TRY(st, chat_node(p, t->kind == T_NAME ? N_NAME : N_LITERAL, out));
    if (t->kind == T_STRING)
        return parse_text(p, &(*out)->literal);
    p->at++;
    if (t->kind == T_NAME) {
        (*out)->name = t->text;
        for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
            if (strcmp(fixed[i].name, t->text) == 0) {
                (*out)->kind = N_LITERAL;
                (*out)->literal = fixed[i].kind == V_BOOL ? chat_bool(fixed[i].truth) : chat_none();
            }
    } else if (t->kind == T_INT) {
        errno = 0;
        (*out)->literal = chat_int(strtoll(t->text, NULL, 10));
        if (errno != 0) {
            p->at--;
            return chat_unsupported(p, "a number this large,");
        }
    } else {
        (*out)->literal = (value){.kind = V_FLOAT, .as.real = strtod(t->text, NULL)};
    }
out:
    return st;
}

static sd_status parse_unary(parser *p, bool filters, node **out)
{
    const token *sign = chat_word(p);
    sd_status st;

    SD_TRY(st, enter(p));
    if (chat_accept(p, T_OP, "-") || chat_accept(p, T_OP, "+")) {
        node *of;

        SD_TRY(st, parse_unary(p, false, &of));
        SD_TRY(st, binary(p, N_UNARY, sign->text, of, NULL, out));
    } else {
        SD_TRY(st, parse_primary(p, out));
    }
    SD_TRY(st, parse_postfix(p, out));
    if (filters)
        SD_TRY(st, parse_filters(p, out));
    p->depth--;
out:
    return st;
}

/* The operators by precedence level, lowest first. */
static const char *const levels[][5] = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};

static sd_status parse_level(parser *p, size_t level, node **out)
{
    sd_status st;

    if (level == sizeof levels / sizeof *levels)
        return parse_unary(p, true, out);
    SD_TRY(st, parse_level(p, level + 1, out));
    for (const char *const *name = levels[level]; *name != NULL;) {
        node *right;

        if (!chat_accept(p, T_OP, *name)) {
            name++;
            continue;
        }
        SD_TRY(st, parse_level(p, level + 1, &right));
        SD_TRY(st, binary(p, N_BINARY, *name, *out, right, out));
        name = levels[level];
    }
out:
    return st;
}

static sd_status parse_compare(parser *p, node **out)
{
    static const char *const names[] = {"==", "!=", "<", "<=", ">", ">="};
    node *first, **last = NULL;
    sd_status st;

    SD_TRY(st, parse_level(p, 0, &first));
    *out = first;
    for (;;) {
        const char *name = NULL;

        for (size_t i = 0; i < sizeof names / sizeof *names && name == NULL; i++)
            if (chat_accept(p, T_OP, names[i]))
                name = names[i];
        if (name == NULL && chat_accept(p, T_NAME, "in"))
            name = "in";
        if (name == NULL && chat_at(p, T_NAME, "not") && p->words.at[p->at + 1].kind == T_NAME &&
            strcmp(p->words.at[p->at + 1].text, "in") == 0) {
            p->at += 2;
            name = "not in";
        }
        if (name == NULL)
            return SD_OK;
        if (last == NULL) {
            SD_TRY(st, binary(p, N_COMPARE, NULL, first, NULL, out));
            last = &(*out)->b;
        }
        SD_TRY(st, binary(p, N_OPERAND, name, NULL, NULL, last));
        SD_TRY(st, parse_level(p, 0, &(*last)->a));
        last = &(*last)->next;
    }
out:
    return st;
}

static sd_status parse_not(parser *p, node **out)
{
    node *of;
    sd_status st;

    if (!chat_accept(p, T_NAME, "not"))
        return parse_compare(p, out);
    SD_TRY(st, enter(p));
    SD_TRY(st, parse_not(p, &of));
    p->depth--;
    st = binary(p, N_NOT, NULL, of, NULL, out);
out:
    return st;
}

static sd_status parse_and(parser *p, node **out)
{
    node *right;
    sd_status st;

    SD_TRY(st, parse_not(p, out));
    while (chat_accept(p, T_NAME, "and")) {
        SD_TRY(st, parse_not(p, &right));
        SD_TRY(st, binary(p, N_AND, NULL, *out, right, out));
    }
out:
    return st;
}

static sd_status parse_or(parser *p, node **out)
{
    node *right;
    sd_status st;

    SD_TRY(st, parse_and(p, out));
    while (chat_accept(p, T_NAME, "or")) {
        SD_TRY(st, parse_and(p, &right));
        SD_TRY(st, binary(p, N_OR, NULL, *out, right, out));
    }
out:
    return st;
}

sd_status chat_expression(parser *p, bool conditional, node **out)
{
    sd_status st;

    SD_TRY(st, enter(p));
    SD_TRY(st, parse_or(p, out));
    while (conditional && chat_accept(p, T_NAME, "if")) {
        node *choice;

        SD_TRY(st, chat_node(p, N_IF_ELSE, &choice));
        choice->b = *out;
        SD_TRY(st, parse_or(p, &choice->a));
        if (chat_accept(p, T_NAME, "else"))
            SD_TRY(st, chat_expression(p, true, &choice->c));
        *out = choice;
    }
    p->depth--;
out:
    return st;
}

sd_status chat_tuple(parser *p, bool conditional, node **out)
{
    node *first, **last;
    sd_status st;

    SD_TRY(st, chat_expression(p, conditional, &first));
    *out = first;
    if (!chat_at(p, T_OP, ","))
        return SD_OK;
    SD_TRY(st, chat_node(p, N_LIST, out));
    (*out)->flag = true;
    (*out)->a = first;
    last = &first->next;
    while (chat_accept(p, T_OP, ",")) {
        if (chat_at(p, T_OP, ")") || chat_at(p, T_BLOCK_END, NULL) || chat_at(p, T_PRINT_END, NULL))
            break;
        SD_TRY(st, chat_expression(p, conditional, last));
        last = &(*last)->next;
    }
out:
    return st;
}
