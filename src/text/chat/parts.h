/* Shared declarations of the template interpreter. Private to this folder. Compiling a template: lex.c (tags and tokens), parse.c and
 * expression.c (the tree). Rendering: template.c (messages to values; at the end, marks to origins), run.c (statements), eval.c (expressions),
 * call.c (members and functions), method.c, filter.c, filter_list.c, test.c. memory.c owns the bytes of both, value.c defines values, format.c
 * prints them; chat.c encodes the result as tokens. All Local.
 *
 * Semantics are those of Jinja2 3.1 in the sandbox of the `transformers` library: values are Python's, and immutable. */
#ifndef SAEDIFF_TEXT_CHAT_PARTS_H
#define SAEDIFF_TEXT_CHAT_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "saediff/core/status.h"
#include "saediff/text/template.h"

/* ---- memory (memory.c) */

/* Blocks that are freed together; `limit` bytes at most. */
typedef struct arena {
    struct arena_block *block;
    uint64_t used, limit;
} arena;

/* Zeroed memory. SD_E_DATA beyond the limit. */
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
    V_NAMESPACE, /* a dict that {% set n.x %} may modify */
    V_LOOP,
    V_MACRO,
    V_FUNCTION,
    V_METHOD
} value_kind;

/* Origin of a byte of a text: low 16 bits, which message's fields (0 the template, MARK_BOS the variable bos_token, else MARK_MESSAGE +
 * index); high 16 bits, the message that was being processed when it was first written (0 none, else MARK_MESSAGE + index). */
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
        const char *name; /* of V_FUNCTION and, for error messages, V_UNDEFINED */
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
    uint32_t message; /* 0, or MARK_MESSAGE + index if it is that message */
} dict;

typedef struct loop {
    const list *over;
    uint64_t at;
} loop;

typedef struct macro {
    const struct node *node;
    struct scope *scope; /* where it is defined */
} macro;

typedef struct bound_method {
    value self;
    const char *name;
} bound_method;

/* A text under construction. */
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
    const char *name; /* of the template, for error messages */
    uint32_t line;    /* current */
    uint64_t steps;   /* remaining */
    unsigned depth;   /* of the C stack */
    unsigned loops;   /* enclosing the current statement */
    uint32_t message; /* current: 0, or MARK_MESSAGE + index */
    scope *scope;
    buffer *out;
    const char *date; /* YYYY-MM-DD */
    int leaving;      /* 0, LEAVE_BREAK or LEAVE_CONTINUE: unwinding to the loop */
} machine;

enum { LEAVE_BREAK = 1, LEAVE_CONTINUE };
#define CHAT_DEPTH 150u
#define CHAT_STEPS 20000000u

/* SD_E_DATA with "template:line: " and the message. */
#define CHAT_FAIL(m, ...) chat_fail((m), __FILE__, __LINE__, __VA_ARGS__)
sd_status chat_fail(const machine *m, const char *file, int line, const char *format, ...) SD_PRINTF(4, 5);
/* Subtracts `count` from the steps of the rendering; SD_E_DATA if none are left. */
SD_MUST_CHECK sd_status chat_spend(machine *m, uint64_t count);

/* mark NULL: all 0. */
SD_MUST_CHECK sd_status chat_add(machine *m, buffer *b, const char *bytes, const uint32_t *mark, uint64_t length);
SD_MUST_CHECK sd_status chat_add_words(machine *m, buffer *b, const char *words);
SD_MUST_CHECK sd_status chat_add_part(machine *m, buffer *b, const str *t, uint64_t first, uint64_t end);
SD_MUST_CHECK sd_status chat_take(machine *m, const buffer *b, value *out);
SD_MUST_CHECK sd_status chat_text(machine *m, const char *bytes, uint64_t length, uint32_t mark, value *out);
SD_MUST_CHECK sd_status chat_part(machine *m, const str *t, uint64_t first, uint64_t end, value *out);

SD_MUST_CHECK sd_status chat_list(machine *m, uint64_t count, value *out); /* of undefined values */
SD_MUST_CHECK sd_status chat_dict(machine *m, uint64_t capacity, value *out);
SD_MUST_CHECK sd_status chat_dict_set(machine *m, dict *d, value key, value item);
/* NULL if absent. */
value *chat_dict_find(const dict *d, const value *key);
value *chat_dict_get(const dict *d, const char *name);
value chat_undefined(const char *name);
value chat_none(void);
value chat_bool(bool truth);
value chat_int(int64_t integer);
bool chat_is(const value *v, const char *words); /* whether v is the text `words` */

const char *chat_kind(const value *v); /* Python's name of the type */
bool chat_truthy(const value *v);
bool chat_equal(const value *a, const value *b);
/* *order < 0, 0, > 0 for numbers, texts, lists; other types fail. */
SD_MUST_CHECK sd_status chat_order(machine *m, const value *a, const value *b, int *order);
/* Elements of a list, keys of a dict, characters of a text; an undefined value has none. */
SD_MUST_CHECK sd_status chat_elements(machine *m, const value *v, list **out);
SD_MUST_CHECK sd_status chat_length(machine *m, const value *v, uint64_t *out);
SD_MUST_CHECK sd_status chat_contains(machine *m, const value *in, const value *what, bool *out);
bool chat_number(const value *v, double *out); /* of int, float, bool */
bool chat_integer(const value *v, int64_t *out); /* of int, bool */

/* Python's str(), repr() and json.dumps(ensure_ascii=False); indent < 0: on one line. */
SD_MUST_CHECK sd_status chat_print(machine *m, buffer *b, const value *v);
SD_MUST_CHECK sd_status chat_to_text(machine *m, const value *v, value *out);
SD_MUST_CHECK sd_status chat_json(machine *m, buffer *b, const value *v, int64_t indent, bool sorted);

/* Number of characters of well-formed bytes; the byte offset of character `at` (at most their number). */
uint64_t chat_characters(const str *t);
uint64_t chat_offset(const str *t, uint64_t at);
uint32_t chat_code_point(const char *bytes, uint64_t *length);
bool chat_space(uint32_t point); /* Python's str.isspace() */
/* The range of t without `drop` characters (NULL: white space) at the given ends. */
void chat_strip(const str *t, const str *drop, bool left, bool right, uint64_t *first, uint64_t *end);

/* ---- tokens of a template (lex.c) */

typedef enum token_kind { T_DATA, T_PRINT, T_PRINT_END, T_BLOCK, T_BLOCK_END, T_NAME, T_STRING, T_INT, T_FLOAT, T_OP, T_END } token_kind;

typedef struct token {
    token_kind kind;
    uint32_t line;
    const char *text; /* NUL-terminated; of T_STRING the value */
    uint64_t length;
} token;

typedef struct tokens {
    token *at;
    uint64_t count, capacity;
} tokens;

/* Allocates in the arena of m; source may hold any bytes. */
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
    N_DICT, /* a: alternating keys and values */
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
    N_ARGUMENT,  /* a; name: NULL or the keyword */
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
/* An expression; with commas a tuple. `conditional` false: an `if` is not part of it. */
SD_MUST_CHECK sd_status chat_expression(parser *p, bool conditional, node **out);
SD_MUST_CHECK sd_status chat_tuple(parser *p, bool conditional, node **out);
const token *chat_word(const parser *p);
bool chat_at(const parser *p, token_kind kind, const char *text); /* text NULL: any */
bool chat_accept(parser *p, token_kind kind, const char *text);
SD_MUST_CHECK sd_status chat_expect(parser *p, token_kind kind, const char *text);
/* "'word' is not supported", at the current token. */
sd_status chat_unsupported(parser *p, const char *what);
/* Whether a filter or test of that name is known: checked at compile time. */
bool chat_filter_known(const char *name);
bool chat_test_known(const char *name);

/* ---- running (run.c, eval.c, call.c, method.c, filter.c, filter_list.c, test.c) */

/* The arguments of a call. */
typedef struct arguments {
    value *at;         /* [count] */
    const char **name; /* [count]; NULL for a positional argument */
    uint64_t count;
} arguments;

SD_MUST_CHECK sd_status chat_run(machine *m, const node *n);
SD_MUST_CHECK sd_status chat_call_macro(machine *m, const macro *f, const arguments *args, value *out);
SD_MUST_CHECK sd_status chat_eval(machine *m, const node *n, value *out);
SD_MUST_CHECK sd_status chat_arguments(machine *m, const node *n, arguments *args);
/* The argument at position `index` or with that name; out unchanged if there is none. */
bool chat_argument(const arguments *args, uint64_t index, const char *name, value *out);
SD_MUST_CHECK sd_status chat_call(machine *m, const value *f, const arguments *args, value *out);
SD_MUST_CHECK sd_status chat_call_method(machine *m, const bound_method *f, const arguments *args, value *out);
SD_MUST_CHECK sd_status chat_filter(machine *m, const char *name, const value *in, const arguments *args, value *out);
/* The filters of lists; *known false for any other filter. */
SD_MUST_CHECK sd_status chat_filter_list(machine *m, const char *name, const value *in, const arguments *args, value *out, bool *known);
SD_MUST_CHECK sd_status chat_test(machine *m, const char *name, const value *in, const arguments *args, bool *out);
SD_MUST_CHECK sd_status chat_member(machine *m, const value *of, const char *name, value *out);
SD_MUST_CHECK sd_status chat_item(machine *m, const value *of, const value *key, value *out);
SD_MUST_CHECK sd_status chat_replace(machine *m, const str *in, const str *old, const str *by, int64_t limit, value *out);
bool chat_method_known(const value *self, const char *name);

SD_MUST_CHECK sd_status chat_push(machine *m);
void chat_pop(machine *m);
SD_MUST_CHECK sd_status chat_bind(machine *m, const char *name, value v);
value *chat_find(const machine *m, const char *name);

#endif
