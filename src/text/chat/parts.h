/* What the files of the template interpreter share. Private to this folder. A template walks: lex.c (marks and words), parse.c and
 * expression.c (a tree). A rendering walks: template.c (messages become values; in the end, marks become origins), run.c (statements),
 * eval.c (expressions), call.c (members and functions), method.c, filter.c, filter_list.c, test.c. memory.c holds the bytes of both,
 * value.c says what values are, format.c how they print; chat.c makes tokens of it all. All Local.
 *
 * Semantics are those of Jinja2 3.1 in the sandbox of the `transformers` library: values are Python's, and cannot be changed in place. */
#ifndef SAEDIFF_TEXT_CHAT_PARTS_H
#define SAEDIFF_TEXT_CHAT_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "saediff/core/status.h"
#include "saediff/text/template.h"

/* ---- memory (memory.c) */

/* Blocks that live and die together; `limit` bytes at most. */
typedef struct arena {
    struct arena_block *block;
    uint64_t used, limit;
} arena;

/* Zeroed. Beyond the limit SD_E_DATA. */
SD_MUST_CHECK sd_status chat_alloc(arena *a, void **out, uint64_t count, uint64_t size);
void chat_arena_free(arena *a);
#define CHAT_NEW(a, out, count) chat_alloc((a), (void **)(out), (count), sizeof **(out))

/* ---- values (value.c, format.c) */

typedef enum value_kind {
    V_UNDEFINED,
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_TEXT,
    V_LIST, /* tuples too */
    V_DICT,
    V_NAMESPACE, /* a dict that {% set n.x %} may change */
    V_LOOP,
    V_MACRO,
    V_FUNCTION,
    V_METHOD
} value_kind;

/* Where a byte of a text comes from: low 16 bits which message's fields (0 the template, MARK_BOS the name bos_token, else MARK_MESSAGE +
 * index), high 16 bits the message at hand when it was first written (0 none, else MARK_MESSAGE + index). */
enum { MARK_BOS = 1, MARK_MESSAGE = 2, MARK_LOW = 0xffff, MARK_SHIFT = 16 };

typedef struct str {
    const char *bytes; /* well-formed UTF-8 */
    const uint32_t *mark; /* [length]; NULL for all 0 */
    uint64_t length;
} str;

typedef struct value {
    value_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        const str *text;
        struct list *list;
        struct dict *dict;
        struct loop *loop;
        struct macro *macro;
        struct bound_method *method;
        const char *name; /* of V_FUNCTION and, for messages, V_UNDEFINED */
    } as;
} value;

typedef struct list {
    value *item;
    uint64_t count;
    bool tuple;
} list;

typedef struct dict {
    value *key, *item;
    uint64_t count, capacity;
    uint32_t message; /* 0, or MARK_MESSAGE + index: it is that message */
} dict;

typedef struct loop {
    const list *over;
    uint64_t at;
} loop;

typedef struct macro {
    const struct node *node;
    struct scope *scope; /* where it stands */
} macro;

typedef struct bound_method {
    value self;
    const char *name;
} bound_method;

/* A text being made. */
typedef struct buffer {
    char *bytes;
    uint32_t *mark;
    uint64_t length, capacity;
    bool marked;
} buffer;

typedef struct scope {
    struct scope *above;
    struct binding {
        const char *name;
        value v;
        struct binding *next;
    } *first;
} scope;

/* One rendering. */
typedef struct machine {
    arena memory;
    const char *name; /* of the template, for messages */
    uint32_t line;    /* at hand */
    uint64_t steps;   /* left */
    unsigned depth;   /* of the C stack */
    unsigned loops;   /* around the statement at hand */
    uint32_t message; /* at hand: 0, or MARK_MESSAGE + index */
    scope *scope;
    buffer *out;
    const char *date; /* YYYY-MM-DD */
    int leaving;      /* 0, LEAVE_BREAK or LEAVE_CONTINUE: until the loop is reached */
} machine;

enum { LEAVE_BREAK = 1, LEAVE_CONTINUE };
#define CHAT_DEPTH 150u
#define CHAT_STEPS 20000000u

/* "template:line: " and the words, SD_E_DATA. */
#define CHAT_FAIL(m, ...) chat_fail((m), __FILE__, __LINE__, __VA_ARGS__)
sd_status chat_fail(const machine *m, const char *file, int line, const char *format, ...) SD_PRINTF(4, 5);
/* Takes `count` of the steps a rendering may make. */
SD_MUST_CHECK sd_status chat_spend(machine *m, uint64_t count);

/* mark NULL: all 0. */
SD_MUST_CHECK sd_status chat_add(machine *m, buffer *b, const char *bytes, const uint32_t *mark, uint64_t length);
SD_MUST_CHECK sd_status chat_add_words(machine *m, buffer *b, const char *words);
SD_MUST_CHECK sd_status chat_add_part(machine *m, buffer *b, const str *t, uint64_t first, uint64_t end);
SD_MUST_CHECK sd_status chat_take(machine *m, const buffer *b, value *out);
SD_MUST_CHECK sd_status chat_text(machine *m, const char *bytes, uint64_t length, uint32_t mark, value *out);
SD_MUST_CHECK sd_status chat_part(machine *m, const str *t, uint64_t first, uint64_t end, value *out);

SD_MUST_CHECK sd_status chat_list(machine *m, uint64_t count, value *out); /* of undefined ones */
SD_MUST_CHECK sd_status chat_dict(machine *m, uint64_t capacity, value *out);
SD_MUST_CHECK sd_status chat_dict_set(machine *m, dict *d, value key, value item);
/* NULL if there is none. */
value *chat_dict_find(const dict *d, const value *key);
value *chat_dict_get(const dict *d, const char *name);
value chat_undefined(const char *name);
value chat_none(void);
value chat_bool(bool truth);
value chat_int(int64_t integer);
bool chat_is(const value *v, const char *words); /* a text that is `words` */

const char *chat_kind(const value *v); /* Python's name of the type */
bool chat_true(const value *v);
bool chat_equal(const value *a, const value *b);
/* *order < 0, 0, > 0 of numbers, texts, lists; others fail. */
SD_MUST_CHECK sd_status chat_order(machine *m, const value *a, const value *b, int *order);
/* Elements of a list, keys of a dict, characters of a text; nothing of an undefined one. */
SD_MUST_CHECK sd_status chat_elements(machine *m, const value *v, list **out);
SD_MUST_CHECK sd_status chat_length(machine *m, const value *v, uint64_t *out);
SD_MUST_CHECK sd_status chat_contains(machine *m, const value *in, const value *what, bool *out);
bool chat_number(const value *v, double *out); /* of int, float, bool */
bool chat_whole(const value *v, int64_t *out); /* of int, bool */

/* Python's str(), repr() and json.dumps(ensure_ascii=False); indent < 0: on one line. */
SD_MUST_CHECK sd_status chat_print(machine *m, buffer *b, const value *v);
SD_MUST_CHECK sd_status chat_to_text(machine *m, const value *v, value *out);
SD_MUST_CHECK sd_status chat_json(machine *m, buffer *b, const value *v, int64_t indent, bool sorted);

/* Characters of well-formed bytes; the byte where character `at` (at most their number) begins. */
uint64_t chat_characters(const str *t);
uint64_t chat_offset(const str *t, uint64_t at);
uint32_t chat_point(const char *bytes, uint64_t *length);
bool chat_space(uint32_t point); /* Python's str.isspace() */
/* The range of t that is left without `drop` (NULL: white space) at its ends. */
void chat_strip(const str *t, const str *drop, bool left, bool right, uint64_t *first, uint64_t *end);

/* ---- words of a template (lex.c) */

typedef enum token_kind { T_DATA, T_PRINT, T_PRINT_END, T_BLOCK, T_BLOCK_END, T_NAME, T_STRING, T_INT, T_FLOAT, T_OP, T_END } token_kind;

typedef struct token {
    token_kind kind;
    uint32_t line;
    const char *text; /* zero-terminated; of T_STRING the value */
    uint64_t length;
} token;

typedef struct tokens {
    token *at;
    uint64_t count, capacity;
} tokens;

/* Everything in the arena of m; source may hold any bytes. */
SD_MUST_CHECK sd_status chat_lex(machine *m, const char *source, uint64_t length, tokens *out);

/* ---- trees (parse.c, expression.c) */

typedef enum node_kind {
    /* statements, chained by next */
    N_DATA,     /* literal */
    N_PRINT,    /* a */
    N_IF,       /* a test, b then, c else */
    N_FOR,      /* targets, a over, d filter, b body, c else */
    N_SET,      /* targets, a value; or b body; name and `field`: of a namespace */
    N_MACRO,    /* name, targets: N_PARAMETER, b body */
    N_GENERATION, /* b body */
    N_BREAK,
    N_CONTINUE,
    /* expressions */
    N_LITERAL,
    N_NAME,
    N_LIST, /* a: elements; flag: a tuple */
    N_DICT, /* a: keys and values by turns */
    N_UNARY,
    N_BINARY, /* name: the operator */
    N_AND,
    N_OR,
    N_NOT,
    N_COMPARE, /* a, then b: chain of N_OPERAND, each name and a */
    N_OPERAND,
    N_IF_ELSE, /* a test, b then, c else or NULL */
    N_MEMBER,  /* a.name */
    N_ITEM,    /* a[b] */
    N_SLICE,   /* a[b:c:d] */
    N_CALL,    /* a(b: N_ARGUMENT …) */
    N_FILTER,  /* a | name(b …) */
    N_TEST,    /* a is name(b …); flag: is not */
    N_ARGUMENT,  /* a; name NULL or that of a keyword */
    N_PARAMETER  /* name; a default or NULL */
} node_kind;

typedef struct node {
    node_kind kind;
    uint32_t line;
    bool flag;
    const char *name, *field;
    value literal;
    struct node *a, *b, *c, *d, *targets, *next;
} node;

typedef struct parser {
    machine *m;
    tokens words;
    uint64_t at;
    unsigned depth, loops;
} parser;

SD_MUST_CHECK sd_status chat_parse(machine *m, const tokens *words, node **out);
SD_MUST_CHECK sd_status chat_node(parser *p, node_kind kind, node **out);
/* An expression; with commas a tuple. `conditional` false: an `if` ends it. */
SD_MUST_CHECK sd_status chat_expression(parser *p, bool conditional, node **out);
SD_MUST_CHECK sd_status chat_tuple(parser *p, bool conditional, node **out);
const token *chat_word(const parser *p);
bool chat_at(const parser *p, token_kind kind, const char *text); /* text NULL: any */
bool chat_accept(parser *p, token_kind kind, const char *text);
SD_MUST_CHECK sd_status chat_expect(parser *p, token_kind kind, const char *text);
/* "'word' is not understood", where the parser stands. */
sd_status chat_refuse(parser *p, const char *what);
/* Whether a filter or test of that name is known: asked when a template is read. */
bool chat_filter_known(const char *name);
bool chat_test_known(const char *name);

/* ---- running (run.c, eval.c, call.c, method.c, filter.c, filter_list.c, test.c) */

/* What a call passes. */
typedef struct arguments {
    value *at;         /* [count] */
    const char **name; /* [count]; NULL for one by place */
    uint64_t count;
} arguments;

SD_MUST_CHECK sd_status chat_run(machine *m, const node *n);
SD_MUST_CHECK sd_status chat_call_macro(machine *m, const macro *f, const arguments *args, value *out);
SD_MUST_CHECK sd_status chat_eval(machine *m, const node *n, value *out);
SD_MUST_CHECK sd_status chat_arguments(machine *m, const node *n, arguments *args);
/* The argument at `place` or with that name; out untouched where there is none. */
bool chat_argument(const arguments *args, uint64_t place, const char *name, value *out);
SD_MUST_CHECK sd_status chat_call(machine *m, const value *f, const arguments *args, value *out);
SD_MUST_CHECK sd_status chat_call_method(machine *m, const bound_method *f, const arguments *args, value *out);
SD_MUST_CHECK sd_status chat_filter(machine *m, const char *name, const value *in, const arguments *args, value *out);
/* The filters of lists; *known false: it is none of them. */
SD_MUST_CHECK sd_status chat_filter_list(machine *m, const char *name, const value *in, const arguments *args, value *out, bool *known);
SD_MUST_CHECK sd_status chat_test(machine *m, const char *name, const value *in, const arguments *args, bool *out);
SD_MUST_CHECK sd_status chat_member(machine *m, const value *of, const char *name, value *out);
SD_MUST_CHECK sd_status chat_item(machine *m, const value *of, const value *key, value *out);
SD_MUST_CHECK sd_status chat_replace(machine *m, const str *in, const str *old, const str *by, int64_t most, value *out);
bool chat_method_known(const value *self, const char *name);

SD_MUST_CHECK sd_status chat_push(machine *m);
void chat_pop(machine *m);
SD_MUST_CHECK sd_status chat_bind(machine *m, const char *name, value v);
value *chat_find(const machine *m, const char *name);

#endif
