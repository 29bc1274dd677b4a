/*
 * Fencing tokens: A attempts for one lock, overlapping or not, on N nodes with a quorum
 * of Q. README.md beside this file has what is modelled, what is not, and the variants.
 *
 * A node that grants an attempt the lock also votes: it raises its counter to
 * max(counter + 1, hint), and answers that. A value that a quorum voted for is the
 * attempt's token. If there is none, the highest is raised on the nodes where the
 * attempt owns the lock; it is the token once a quorum has voted for it, in either way.
 *
 * A holder that has its token may get nodes again that have lost its lock: it sends
 * them a vote that nobody counts (rejoin).
 *
 * It stands for backend/lua/vote.lua and raise.lua, the inlines vote, rejoin and raise,
 * and for what is to send them. Tombstones, the queue and the bounds of counters are left out.
 *
 * There is no time. Env frees any lock at any moment, as the end of a lease, a release
 * or a clock that jumps would. A request may arrive late or never, an answer may be
 * lost, an attempt may end anywhere. What must hold: no token comes twice, and an
 * attempt that begins when another has ended with a token gets a higher one (the
 * assertions in finish).
 */

#ifndef N
#define N 3             /* nodes, at most 3 */
#endif
#ifndef Q
#define Q 2             /* how many of them are a quorum */
#endif
#ifndef A
#define A 2             /* attempts, at most 3 */
#endif

/* What may happen; -D…=1 allows it. */
#ifndef HINTS
#define HINTS 0         /* each vote has any hint from 0 to so much */
#endif
#ifndef DUPLICATES
#define DUPLICATES 0    /* requests arrive again; so many of them where the lock was lost meanwhile, and any number elsewhere */
#endif
#ifndef LOSS
#define LOSS 0          /* how many times a node may lose everything */
#endif

#ifndef REJOIN
#define REJOIN 0        /* how often a node that has lost the lock is given it again by its holder, which has its token */
#endif

/* What is done about loss. */
#ifndef CLAMP
#define CLAMP 0         /* hints are held to the node's clock, so above all tokens that were had long enough before */
#endif
#ifndef QUARANTINE
#define QUARANTINE 0    /* a node that has lost anything votes when all attempts under way have ended, and not before */
#endif

/* Bugs, put in on purpose; each must be found. */
#ifndef BAD
#define BAD 0
#endif
#define LAX        (BAD == 1)   /* a raise is not strict, and not for the owner alone */
#define INCOMPLETE (BAD == 2)   /* a token is returned from a second round that reached no quorum */
#define ONEROUND   (BAD == 3)   /* the highest of a quorum of votes is the token, without a second round */
#define LOWERS     (BAD == 4)   /* a rejoin sets the counter to the holder's token, also if it is higher */

#define BIT(i)   (1 << (i))
#define ALL      (BIT(N) - 1)
#define MAX(a, b) ((a) > (b) -> (a) : (b))

byte counter[N];        /* of each node */
byte owner[N];          /* the attempt that has the lock there, 0 for none */
byte base[N];           /* what the node's clock is above, since the end of its quarantine */
byte quarantined[N];    /* attempts that were under way when the node lost everything */
byte running = BIT(A + 1) - 2;  /* attempts that have begun, or may yet: BIT(me) */
byte begun;
byte highest;           /* of the tokens that were returned */
bool returned[32];      /* which ones were */
byte had[N];            /* who had the lock when the node lost everything, and may have it again in the quarantine */
byte losses, rejoins;
byte copies;            /* requests that took a lock a second time */

#define OWNED (((owner[0] != 0) | (owner[1 % N] != 0) << 1 | (owner[2 % N] != 0) << 2) & ALL)

#define SHUT (quarantined[j] != 0)

/* Node j becomes one of those in m, any of them; there must be one. */
inline pick() {
	if
	:: m & 1 -> j = 0
	:: m & 2 -> j = 1
	:: m & 4 -> j = 2
	fi;
	m = 0
}

/* The hint of one vote. Without a clamp it is whatever the client says, up to HINTS.
 * With one it is at least the node's clock less the clamp, which is above every
 * token that was returned so long before, and may be a little more. */
inline guess() {
	hint = 0;
	if
	:: CLAMP -> hint = MAX(floor, base[j]) + 1;
		if :: hint++ :: skip fi
	:: else ->
		do
		:: hint < HINTS -> hint++
		:: break
		od
	fi
}

/* The vote of node j: once, or again for an owner, whose repeated request is
 * answered with what it voted. The answer may be lost. */
inline vote() {
	if
	:: SHUT
	:: !SHUT && owner[j] == 0 && (asked & BIT(j)) && copies >= DUPLICATES
	:: !SHUT && owner[j] == 0 && (!(asked & BIT(j)) || copies < DUPLICATES) ->
		copies = copies + (asked & BIT(j) -> 1 : 0);
		guess();
		owner[j] = me; counter[j] = MAX(counter[j] + 1, hint);
		hint = 0;
		if :: votes[j] = counter[j] :: skip fi
	:: !SHUT && owner[j] == me -> votes[j] = counter[j]
	:: !SHUT && owner[j] != 0 && owner[j] != me
	fi;
	asked = asked | BIT(j)
}

/* Node j has lost the lock of an attempt that has its token, and is asked for it again. Its
 * counter goes up as in a vote, but nobody counts that. */
inline rejoin() {
	if
	:: owner[j] == 0 && (!SHUT || had[j] == me) ->
		rejoins++;
		guess();
		owner[j] = me; counter[j] = (LOWERS -> token : MAX(counter[j] + 1, hint));
		hint = 0
	:: else
	fi
}

/* A raise to the token on node j: to what is there already it is a repeated one. */
inline raise() {
	if
	:: LAX -> counter[j] = MAX(counter[j], token); raised = raised | BIT(j)
	:: !LAX && owner[j] == me && counter[j] <= token ->
		counter[j] = token;
		if :: raised = raised | BIT(j) :: skip fi
	:: !LAX && !(owner[j] == me && counter[j] <= token)
	fi
}

#define VOTED(i)  ((i) < N && votes[(i) % N] != 0)
#define FOR(i, t) ((i) < N && votes[(i) % N] == (t))
#define VOTES     (VOTED(0) + VOTED(1) + VOTED(2))
#define HAS(t)    (FOR(0, t) + FOR(1, t) + FOR(2, t))           /* by the first round */
#define HASNOW(i) ((i) < N && (votes[(i) % N] == token || (raised & BIT(i))))   /* by either */
#define QUORUM    (HASNOW(0) + HASNOW(1) + HASNOW(2) >= (INCOMPLETE -> 1 : Q))

#define UNASKED  (DUPLICATES -> ALL : ALL & ~asked)
#define LESS(i)  (VOTED(i) && votes[(i) % N] < token -> BIT(i) : 0)
#define BELOW    ((LESS(0) | LESS(1) | LESS(2)) & (DUPLICATES -> ALL : ~raised))

/* The attempt is over, as far as tokens go. A quarantine ends with the last of those that were
 * under way. Until then the clock has gone on. */
inline conclude() {
	running = running & ~BIT(me);
	votes[0] = 0; votes[1 % N] = 0; votes[2 % N] = 0;
	asked = 0; raised = 0; j = 0;
	do
	:: j < N ->
		if
		:: quarantined[j] ->
			quarantined[j] = quarantined[j] & ~BIT(me);
			base[j] = (CLAMP && !quarantined[j] -> highest : base[j])
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0
}

inline finish() {
	assert(token > floor);
	assert(!returned[token]);
	returned[token] = true;
	highest = MAX(highest, token)
}

proctype Attempt(byte me) {
	byte j, m, hint;
	byte floor;             /* the highest token that was returned before it began */
	byte votes[N];          /* what each node answered */
	byte asked, raised;     /* nodes that were asked; that have raised */
	byte token;

	atomic { floor = highest; begun = begun | BIT(me) };

	/* The first round. */
	do
	:: atomic { UNASKED -> m = UNASKED; pick(); vote(); j = 0 }
	:: atomic { VOTES >= Q ->
		if      /* any value that a quorum voted for, else the highest */
		:: VOTED(0) && HAS(votes[0]) >= Q -> token = votes[0]
		:: N > 1 && VOTED(1) && HAS(votes[1 % N]) >= Q -> token = votes[1 % N]
		:: N > 2 && VOTED(2) && HAS(votes[2 % N]) >= Q -> token = votes[2 % N]
		:: token = MAX(votes[0], MAX(votes[1 % N], votes[2 % N]))
		fi; break }
	:: goto out
	od;

	/* The second one. What is left of the first goes on beside it. */
	do
	:: atomic { !ONEROUND && BELOW -> m = BELOW; pick(); raise(); j = 0 }
	:: atomic { UNASKED -> m = UNASKED; pick(); vote(); j = 0 }
	:: atomic { QUORUM || ONEROUND -> finish(); conclude(); token = (LOWERS -> token : 0); break }
	:: goto out
	od;

	/* It has its token. While it holds the lock, nodes that have lost it get it again. */
	do
	:: atomic { rejoins < REJOIN -> m = ALL; pick(); rejoin(); j = 0 }
	:: atomic { token = 0; floor = 0; goto done }
	od;
out:	atomic { conclude(); token = 0; floor = 0 }
done:	skip
}

/* What happens to the nodes. */
active proctype Env() {
	byte j, m;

end:	do
	:: atomic { OWNED -> m = OWNED; pick(); owner[j] = 0; j = 0 }
	:: atomic { losses < LOSS -> losses++; m = ALL; pick();
		had[j] = (REJOIN && QUARANTINE -> owner[j] : 0);
		counter[j] = 0; owner[j] = 0; base[j] = 0;
		quarantined[j] = (QUARANTINE -> begun & running : 0);
		base[j] = (CLAMP && QUARANTINE && !quarantined[j] -> highest : 0);
		j = 0 }
	od
}

init {
	byte i = 1;
	atomic { do :: i <= A -> run Attempt(i); i++ :: else -> break od; i = 0 }
}
