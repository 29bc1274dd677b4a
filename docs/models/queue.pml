/*
 * The ticket queue, without timers: N nodes, a quorum of Q, W processes that want one
 * lock, and a first holder. docs/waiting.md has the protocol, README.md beside this
 * file what is modelled, what is not, and the variants. It stands for
 *
 *   backend/lua/acquire.lua, release.lua, rollback.lua, with notify.lua and
 *   enqueue.lua: the inlines acquire, release, rollback, call, enqueue
 *   internal/quorum (waiter.go, localqueue.go, inbox.go), internal/attempt (contest.go, operation.go) and
 *   redlock/call.go: the steps of the process Waiter
 *
 * A script is one step on one node. What a process sends reaches the nodes in any
 * order, and is overtaken by what others send. A script and its answer are one step:
 * nothing is decided before all answers are in, but for a win, and what is under way
 * then goes on beside it.
 *
 * What must hold: at most one process is inside (the assertion in enter), and no
 * wake-up is lost: the assertion in Monitor fails if everybody sleeps uncalled or
 * has finished, nothing is under way, and somebody sleeps.
 */

#ifndef N
#define N 3             /* nodes */
#endif
#ifndef Q
#define Q 2             /* how many of them are a quorum */
#endif
#ifndef W
#define W 2             /* processes, at most 3; a lower number began to wait earlier */
#endif
#ifndef HELD
#define HELD ALL        /* nodes that the first holder has */
#endif

/* What may happen; -D…=1 allows it. */
#ifndef PLAIN
#define PLAIN 0         /* a caller begins with a plain try; else with the ticket */
#endif
#ifndef CONTEST
#define CONTEST 0       /* a node that refused and then calls is asked again */
#endif
#ifndef GIVE
#define GIVE 0          /* anybody may give up: 1 between tries, 2 during one too */
#endif
#ifndef CRASH
#define CRASH 0         /* one that sleeps, and is not called, may die */
#endif
#ifndef DEADS
#define DEADS 0         /* with CRASH: a script removes one dead ticket at most, and the release goes on */
#endif
#ifndef AGAIN
#define AGAIN 0         /* one that has finished may come back, for ever */
#endif
#ifndef REPLY
#define REPLY 0         /* the answer to an acquire may be lost */
#endif
#ifndef REQUEST
#define REQUEST 0       /* an acquire may be lost */
#endif
#ifndef LATE
#define LATE 0          /* an acquire may arrive after its attempt, one at a time for each process */
#endif
#ifndef REPEAT
#define REPEAT 0        /* the answer to a deletion may be lost, so that it is repeated */
#endif
#ifndef LOSSES
#define LOSSES 1        /* how many messages may be lost, late or repeated in all; 255: any number */
#endif
#ifndef FLIGHT
#define FLIGHT 0        /* a call may be on its way while those that have come are forgotten */
#endif
#ifndef DOWN
#define DOWN 0          /* the last node never answers */
#endif
#ifndef REVERSED
#define REVERSED 0      /* the queue of the last node has the opposite order */
#endif
#ifndef INORDER
#define INORDER 0       /* fewer states: everybody asks the nodes in the same order */
#endif

/* Bugs, put in on purpose; each must be found. */
#ifndef BAD
#define BAD 0
#endif
#define NOPASS    (BAD == 1)    /* a call that nobody uses is not passed on */
#define NOQUIT    (BAD == 2)    /* who gives up sends no Release */
#define FORGETS   (BAD == 3)    /* calls are forgotten after the try, not before it */
#define NOGATE    (BAD == 4)    /* a rollback never calls */
#define NOREQUEUE (BAD == 5)    /* a rollback does not put the ticket back */
#define MUTE      (BAD == 6)    /* a release calls nobody */
#define DEAFSLEEP (BAD == 7)    /* who split the vote sleeps */
#define TWOINSIDE (BAD == 8)    /* one node less than a quorum wins */
#define STOPS     (BAD == 10)   /* with DEADS: a release does not go on behind the dead */
#define DROPS     (BAD == 9)    /* a call that comes while a release is under way is dropped */

#define BIT(i)   (1 << (i))
#define ALL      (BIT(N) - 1)
#define UP       (DOWN -> ALL >> 1 : ALL)
#define SPARE    (N - Q)        /* more than so many are enough to block */
#define COUNT(m) (((m) & 1) + (((m) >> 1) & 1) + (((m) >> 2) & 1) + (((m) >> 3) & 1))

/* What a lock holds. Each attempt of a process has a token of its own; two are
 * enough to tell an attempt from the one before it. */
#define FREE        0
#define HOLDER      1           /* the first holder's token */
#define TOKEN(g)    (8 * w + (g))
#define PLAINTOKEN  TOKEN(3)    /* of the try without a ticket */
#define LATETOKEN   TOKEN(4)    /* of an acquire that arrives late */
#define RESERVED(v) (8 * (v) + 5)
#define OWNER(t)    ((t) >> 3)

byte lock[N];   /* what the lock holds on each node */
byte queue[N];  /* whose tickets stand in its queue: BIT(w) */
byte calls[4];  /* of each process: the nodes that have called it, and it has not noticed */
byte asleep;    /* processes that wait to be called */
byte idle;      /* processes that sleep or have finished, with nothing under way */
byte inside;    /* how many hold the lock */
byte losses;    /* messages that were lost, late or repeated so far */
byte freeing;   /* nodes on which the first holder has yet to release */
byte gone;      /* processes that have died, and whose tickets stand in queues yet */
byte onward;    /* nodes on which a release has yet to go on behind the dead */

#define LOWEST(m)  ((m) & 2 -> 1 : ((m) & 4 -> 2 : 3))
#define HIGHEST(m) ((m) & 8 -> 3 : ((m) & 4 -> 2 : 1))
#define FIRST      (REVERSED && j == N-1 -> HIGHEST(queue[j]) : LOWEST(queue[j]))

/* The scripts, on node j, for the process w. */

inline enqueue() { queue[j] = queue[j] | BIT(w) }
inline dequeue() { queue[j] = queue[j] & ~BIT(w) }

/* notify.lua. Without DEADS the dead are out of the queue from the moment that they die,
 * since they are passed over. With it a script removes one of the dead at most, and leaves
 * the lock free then: whoever sent it goes on, in the process Onward. What it tells the
 * two behind is for timers. */
inline call() {
	if
	:: queue[j] && (BIT(FIRST) & gone) ->
		queue[j] = queue[j] & ~BIT(FIRST); lock[j] = FREE;
		onward = (STOPS -> onward : onward | BIT(j))
	:: queue[j] && !(BIT(FIRST) & gone) ->
		lock[j] = RESERVED(FIRST);
		queue[j] = queue[j] & ~BIT(OWNER(lock[j]));
		calls[OWNER(lock[j])] = calls[OWNER(lock[j])] | BIT(j)
	:: else -> lock[j] = FREE
	fi
}

/* A plain SET NX, and acquire.lua; granted if the lock then holds the token. */
inline setnx(token) { lock[j] = (lock[j] == FREE -> token : lock[j]) }
inline acquire(token) {
	if
	:: lock[j] == token
	:: lock[j] == FREE || lock[j] == RESERVED(w) -> lock[j] = token; dequeue()
	:: else -> enqueue()
	fi
}

/* release.lua without and with the ticket. */
inline releasePlain(token) {
	if
	:: lock[j] == token && MUTE -> lock[j] = FREE
	:: (lock[j] == token && !MUTE) || lock[j] == FREE -> call()
	:: else
	fi
}
inline release(token) {
	dequeue();
	if
	:: lock[j] == token && MUTE -> lock[j] = FREE
	:: (lock[j] == token && !MUTE) || lock[j] == FREE || lock[j] == RESERVED(w) -> call()
	:: else
	fi
}

/* rollback.lua. */
inline rollback(token, calling) {
	if
	:: lock[j] == token && calling && !NOGATE -> dequeue(); call()
	:: lock[j] == token && !(calling && !NOGATE) -> lock[j] = FREE
	:: else
	fi;
	if
	:: NOREQUEUE -> dequeue()
	:: else -> enqueue()
	fi
}

/* Node j becomes one of those in m, any of them. */
#define MAY(m, i) (((m) & BIT(i)) && !(INORDER && ((m) & (BIT(i) - 1))))
inline pick(m) {
	if
	:: MAY(m, 0) -> j = 0
	:: MAY(m, 1) -> j = 1
	:: MAY(m, 2) -> j = 2
	:: MAY(m, 3) -> j = 3
	fi
}

/* Phases of a process. */
#define START  0        /* about to try */
#define FIRSTTRY 1      /* the plain try is under way */
#define TRY    2        /* a try with the ticket is under way */
#define AWAKE  3        /* about to try again: a split vote, or it has to poll */
#define ASLEEP 4
#define HOLDS  5        /* has won with the ticket */
#define UNLOCK 6        /* releases that */
#define LEAVE  7        /* gives up */
#define DONE   8
#define DEAD   9

/* One owner, seen on so many nodes that nobody else can win. */
#define SAME(a, b) ((a) < N && (b) < N && seen[(a) % N] && seen[(a) % N] == seen[(b) % N])
#define OWNED (SPARE == 0 -> refused != 0 : \
	SAME(0, 1) || SAME(0, 2) || SAME(1, 2) || SAME(0, 3) || SAME(1, 3) || SAME(2, 3))

inline enter() {
	assert(inside == 0);
	inside = 1
}

inline forgetTry() {
	got = 0; unknown = 0; refused = 0;
	k = 0; do :: k < N -> seen[k] = 0; k++ :: else -> break od; k = 0
}

#define LOSES(what) ((what) && (LOSSES == 255 || losses < LOSSES))
inline lost() { losses = (LOSSES == 255 -> 0 : losses + 1) }

/* One that sleeps, and has nothing under way, stands in the queue of every node, or
 * the lock is reserved for it there: the next one to be free calls it. Only a late
 * acquire may take its ticket away. */
#define PLACED(i) (!(UP & BIT((i) % N)) || (queue[(i) % N] & BIT(w)) || lock[(i) % N] == RESERVED(w))
#define EVERYWHERE (PLACED(0) && PLACED(1) && PLACED(2) && PLACED(3))

/* The end of each step: j is no part of the state, and Monitor sees who is idle. */
inline done() {
	j = 0;
	asleep = (phase == ASLEEP -> asleep | BIT(w) : asleep & ~BIT(w));
	idle = ((phase == ASLEEP || phase == DONE || phase == DEAD) &&
		!back && !repeats && !others && !plainAsk && !plainDel && !lateDel -> idle | BIT(w) : idle & ~BIT(w));
	assert(LATE || phase != ASLEEP || !(idle & BIT(w)) || EVERYWHERE)
}

/* Waiter.Acquire: what has been called so far is forgotten, then all are asked, with
 * a new token. */
inline begin() {
	phase = TRY; gen = 3 - gen; ask = UP; unknown = ALL & ~UP;
	if
	:: !FORGETS -> calls[w] = 0
	:: FLIGHT || FORGETS
	fi
}

/* Waiter.plan: the try is lost. What was granted, or may have been, is rolled back,
 * with calls if others may have seen us as the one owner. */
inline lose() {
	back = (got | unknown) & UP & ~(overtaken -> 0 : late); backGen = gen;
	calling = COUNT(got | unknown) > SPARE;
	if
	:: COUNT(got | refused) <= SPARE || COUNT(unknown) > SPARE -> phase = AWAKE         /* it polls */
	:: else ->
		if
		:: (got | unknown) && !OWNED && !DEAFSLEEP -> phase = AWAKE              /* a split vote */
		:: else -> phase = ASLEEP; calls[w] = (FORGETS -> 0 : calls[w])
		fi
	fi;
	forgetTry()
}

/* An acquire with the ticket leaves for node j, after which only this attempt speaks
 * for the ticket there (localQueue.enters). */
inline enters() {
	ask = ask & ~BIT(j);
	others = others | (repeats & BIT(j)); repeats = repeats & ~BIT(j);
	overtaken = overtaken || ((late | lateDel) & BIT(j))
}

proctype Waiter(byte w) {
	byte j, k, phase = START;
	byte ask;               /* nodes that the current attempt has yet to ask */
	byte got, unknown, refused, seen[N];    /* what they answered, and who has the lock there */
	byte gen = 1;           /* of its token, 1 or 2 */
	byte leave;             /* nodes to which a release with the ticket is to go */
	byte back, backGen;     /* nodes on which the attempt before it is to be rolled back */
	bit calling;            /* with calls */
	byte repeats, others;   /* rollbacks to be repeated, with the ticket and without */
	byte plainAsk, plainDel;        /* of the plain try: under way, to be released */
	byte late, lateDel;     /* an acquire that may yet arrive, and is to be deleted */
	bit overtaken;          /* a later attempt has asked there */

end:	do
	/* redlock/call.go: acquire. */
	:: atomic { phase == START && PLAIN && !plainAsk && !plainDel ->
		phase = FIRSTTRY; ask = UP; unknown = ALL & ~UP; done() }
	:: atomic { phase == START && !PLAIN -> begin(); done() }
	:: atomic { phase == FIRSTTRY ->
		pick(ask); ask = ask & ~BIT(j);
		if
		:: LOSES(REQUEST) -> unknown = unknown | BIT(j); lost()
		:: setnx(PLAINTOKEN);
			if
			:: lock[j] == PLAINTOKEN -> got = got | BIT(j)
			:: lock[j] != PLAINTOKEN -> refused = refused | BIT(j)
			:: LOSES(REPLY) -> unknown = unknown | BIT(j); lost()
			fi
		fi;
		if
		:: COUNT(got) >= Q -> enter(); phase = HOLDS
		:: COUNT(got) < Q && COUNT(unknown | refused) > SPARE ->        /* lost, early */
			phase = (COUNT(unknown) > SPARE -> START : AWAKE);
			plainAsk = ask; plainDel = (got | unknown) & UP; ask = 0; forgetTry()
		:: else
		fi;
		if
		:: phase == HOLDS ->    /* a holder without a ticket has no local queue, and only its token to release */
			plainAsk = ask; plainDel = (got | unknown) & UP; ask = 0; forgetTry();
			phase = UNLOCK; leave = 0
		:: else
		fi;
		done() }
	/* The plain try goes on beside what follows: what arrives late is released. */
	:: atomic { plainAsk -> pick(plainAsk); plainAsk = plainAsk & ~BIT(j);
		if
		:: setnx(PLAINTOKEN); plainDel = (lock[j] == PLAINTOKEN -> plainDel | BIT(j) : plainDel)
		:: skip         /* it is not sent any more */
		fi; done() }
	:: atomic { plainDel -> pick(plainDel); plainDel = plainDel & ~BIT(j);
		if :: phase == UNLOCK && !leave -> inside = 0; phase = DONE :: else fi;
		releasePlain(PLAINTOKEN); done() }

	/* Waiter.Acquire. On its way an acquire lets deletions of the process go ahead
	 * (lane). A late one has not been answered when the attempt ends. */
	:: atomic { (phase == AWAKE || (phase == ASLEEP && calls[w])) -> begin(); done() }
	:: atomic { phase == TRY && (ask & ~back & ~plainDel) -> pick(ask & ~back & ~plainDel); enters();
		if
		:: LOSES(REQUEST) -> unknown = unknown | BIT(j); lost()
		:: LOSES(LATE) && !late && !lateDel -> unknown = unknown | BIT(j); lost();
			late = BIT(j); lateDel = BIT(j); overtaken = 0
		:: acquire(TOKEN(gen));
			if
			:: lock[j] == TOKEN(gen) -> got = got | BIT(j)
			:: lock[j] != TOKEN(gen) -> refused = refused | BIT(j); seen[j] = lock[j]
			:: LOSES(REPLY) -> unknown = unknown | BIT(j); lost()
			fi
		fi;
		if
		:: COUNT(got) >= Q - TWOINSIDE -> enter(); forgetTry(); phase = HOLDS; leave = UP
		:: COUNT(got) < Q - TWOINSIDE && !ask && !CONTEST -> lose()
		:: else
		fi;
		done() }
	/* contest.askCallers. */
	:: atomic { CONTEST && phase == TRY && (calls[w] & refused) ->
		pick(calls[w] & refused);
		calls[w] = calls[w] & ~BIT(j);
		refused = refused & ~BIT(j); seen[j] = 0; ask = ask | BIT(j); done() }
	:: atomic { CONTEST && phase == TRY && !ask -> lose(); done() }

	/* What the attempt before has left to be rolled back. */
	:: atomic { back -> pick(back); back = back & ~BIT(j);
		rollback(TOKEN(backGen), calling);
		if :: LOSES(REPEAT) -> repeats = repeats | BIT(j); lost() :: skip fi;
		if :: !back -> backGen = 0; calling = 0 :: else fi; done() }
	:: atomic { repeats -> pick(repeats); repeats = repeats & ~BIT(j);
		if
		:: phase == DONE || phase == LEAVE || phase == UNLOCK -> release(TOKEN(7))      /* a token that is nowhere */
		:: else -> rollback(TOKEN(7), 0)
		fi; done() }
	:: atomic { others -> pick(others); others = others & ~BIT(j); releasePlain(TOKEN(7)); done() }

	/* A late acquire arrives, or never does; its deletion is repeated until then. */
	:: atomic { late -> pick(late);
		if
		:: acquire(LATETOKEN); lateDel = BIT(j)
		:: skip
		fi; late = 0; done() }
	:: atomic { lateDel && phase != TRY && phase != HOLDS && !back -> pick(lateDel); lateDel = 0;
		if
		:: overtaken -> releasePlain(LATETOKEN)
		:: else ->
			if
			:: phase == DONE || phase == LEAVE || phase == UNLOCK -> release(LATETOKEN)
			:: else -> rollback(LATETOKEN, 1)
			fi
		fi; done() }

	/* A holder. Those it has yet to ask join its lock, or refuse; so does a node that
	 * calls (Group.called, Attempt.join). Its release goes to all, and settles what is
	 * left there. */
	:: atomic { (phase == HOLDS || phase == UNLOCK || phase == LEAVE) && (ask & ~back & ~plainDel) ->
		pick(ask & ~back & ~plainDel); enters();
		if
		:: acquire(TOKEN(gen))
		:: phase != HOLDS       /* it is not sent any more */
		fi; done() }
	:: atomic { phase == HOLDS && calls[w] -> pick(calls[w]); calls[w] = calls[w] & ~BIT(j);
		if :: ask = ask | BIT(j) :: skip fi; done() }
	:: atomic { phase == HOLDS -> phase = UNLOCK; inside = 0; done() }
	:: atomic { (phase == UNLOCK || phase == LEAVE) && (leave & ~ask & ~back) -> pick(leave & ~ask & ~back);
		if :: leave = leave & ~BIT(j) :: LOSES(REPEAT) -> lost() fi;
		release(TOKEN(gen));
		if :: !leave -> phase = DONE; gen = 1 :: else fi; done() }
	/* A call that comes while the release is under way is passed on (Group.called):
	 * where the release has been, a late acquire may have left the ticket. */
	:: atomic { phase == UNLOCK && leave && calls[w] -> pick(calls[w]); calls[w] = calls[w] & ~BIT(j);
		if :: !DROPS -> release(TOKEN(7)) :: DROPS fi; done() }

	/* Giving up. A call that has come is forgotten; one that is on its way is not. */
	:: atomic { GIVE && (phase == AWAKE || phase == ASLEEP || (GIVE == 2 && phase == TRY && !back)) ->
		if
		:: phase == TRY -> back = (got | unknown) & UP & ~(overtaken -> 0 : late); backGen = gen; calling = COUNT(got | unknown | ask) > SPARE
		:: else
		fi;
		forgetTry();
		gen = (phase == TRY || back -> gen : 1); phase = LEAVE; leave = UP;
		if :: calls[w] = 0 :: skip fi;
		if :: NOQUIT -> leave = 0; ask = 0; phase = DONE; gen = 1 :: else fi; done() }

	/* A call that nobody is there to hear is passed on (Group.pass). */
	:: atomic { !NOPASS && (phase == DONE || phase == LEAVE) && calls[w] -> pick(calls[w]);
		calls[w] = calls[w] & ~BIT(j); release(TOKEN(7)); done() }

	:: atomic { CRASH && phase == ASLEEP && (idle & BIT(w)) &&
		lock[0] != RESERVED(w) && lock[N/2] != RESERVED(w) && lock[N-1] != RESERVED(w) ->
		k = 0; do :: k < N -> queue[k] = (DEADS -> queue[k] : queue[k] & ~BIT(w)); k++ :: else -> break od; k = 0;
		gone = (DEADS -> gone | BIT(w) : gone);
		phase = DEAD; gen = 1; calls[w] = 0; done() }
	:: atomic { AGAIN && phase == DONE && (idle & BIT(w)) && !late ->
		phase = START; overtaken = 0; done() }
	od
}

/* Everybody sleeps uncalled or has finished, and somebody sleeps. */
#define STILL(v) (W < v || ((idle & BIT(v)) && (!calls[v] || (NOPASS && !(asleep & BIT(v))))))
active proctype Monitor() {
end:	atomic { asleep && !freeing && !onward && STILL(1) && STILL(2) && STILL(3) -> assert(false) }
}

/* A release that has met more of the dead than a script passes over goes on with another
 * one, without a token and a ticket (nodeState.notifiedNobody). */
#if DEADS
active proctype Onward() {
	byte j, w;
end:	do
	:: atomic { onward ->
		j = (onward & 1 -> 0 : (onward & 2 -> 1 : (onward & 4 -> 2 : 3)));
		onward = onward & ~BIT(j); releasePlain(TOKEN(7)); j = 0 }
	od
}
#endif

/* The first holder releases on one node after the other. Where nodes are alike, one
 * order stands for all. */
active proctype Holder() {
	byte j, w;
	atomic {
		freeing = HELD & UP; j = 0;
		do :: j < N -> lock[j] = ((HELD & UP) & BIT(j) -> HOLDER : FREE); j++ :: else -> break od; j = 0;
		run Waiter(1);
		if :: W > 1 -> run Waiter(2) :: else fi;
		if :: W > 2 -> run Waiter(3) :: else fi
	};
end:	do
	:: atomic { freeing ->
		if
		:: INORDER || REVERSED ->
			if :: freeing & 1 -> j = 0 :: freeing & 2 -> j = 1 :: freeing & 4 -> j = 2 :: freeing & 8 -> j = 3 fi
		:: else -> j = (freeing & 1 -> 0 : (freeing & 2 -> 1 : (freeing & 4 -> 2 : 3)))
		fi;
		freeing = freeing & ~BIT(j); releasePlain(HOLDER); j = 0 }
	od
}
