/* Processes, as /proc shows them. */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

/* Its state as in ps(1): R S D T Z …; 0 when there is no such process. */
char process_state(pid_t);
/* Whether it has executed the program of this name. */
bool process_runs(pid_t, const char *program);
/* The first child of a process, or 0. */
pid_t process_first_child(pid_t);

/* How many processes are below the calling one, without `except` and what that has started.
   The calling process has to be a child subreaper, or it cannot know. */
int descendants_count(pid_t except);
/* Kills and reaps them all. */
void descendants_end(void);

/* Gives up root's rights, if there are any. */
void become_nobody(void);

/* Whether the caller is root and may make namespaces: in a container, root often may not. */
bool is_whole_root(void);
/* Whether nobody may make a user namespace. */
bool user_namespaces_are_free(void);

/* A process in fresh namespaces of these types, by their names, that does nothing. */
pid_t target_start(const char *namespaces, bool as_nobody);
/* One that has ended and is not waited for. */
pid_t zombie_start(void);

#endif
